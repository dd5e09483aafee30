// The stargz snapshotter as a service of its own, for machines whose distribution packages its library but
// not its daemon (Debian). All settings are the library's defaults, as containerd-stargz-grpc's are; registries
// speak plain HTTP, as the benchmark's does.
package main

import (
	"context"
	"flag"
	"log"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/containerd/contrib/snapshotservice"
	"github.com/containerd/containerd/reference"
	"github.com/containerd/containerd/remotes/docker"
	"github.com/containerd/containerd/snapshots"
	stargzfs "github.com/containerd/stargz-snapshotter/fs"
	"github.com/containerd/stargz-snapshotter/fs/config"
	"github.com/containerd/stargz-snapshotter/fs/source"
	"github.com/containerd/stargz-snapshotter/snapshot"
	"github.com/hashicorp/go-retryablehttp"
	"google.golang.org/grpc"
)

func main() {
	address := flag.String("address", "", "socket to listen on")
	root := flag.String("root", "", "folder for all that is stored")
	flag.Parse()
	if err := serve(*address, *root); err != nil {
		log.Fatal(err)
	}
}

func serve(address, root string) error {
	snapshotter, err := open(root)
	if err != nil {
		return err
	}
	listener, err := net.Listen("unix", address)
	if err != nil {
		return err
	}
	server := grpc.NewServer()
	snapshotsapi.RegisterSnapshotsServer(server, snapshotservice.FromSnapshotter(snapshotter))
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		<-ended
		server.Stop()
	}()
	if err := server.Serve(listener); err != nil {
		return err
	}
	return snapshotter.Close() // unmounts what is served
}

func open(root string) (snapshots.Snapshotter, error) {
	settings := config.Config{NoPrometheus: true}
	getSources := stargzfs.WithGetSources(source.FromDefaultLabels(registryHosts))
	fs, err := stargzfs.NewFilesystem(filepath.Join(root, "stargz"), settings, getSources)
	if err != nil {
		return nil, err
	}
	folder := filepath.Join(root, "snapshotter")
	return snapshot.NewSnapshotter(context.Background(), folder, fs, snapshot.AsynchronousRemove)
}

func registryHosts(ref reference.Spec) ([]docker.RegistryHost, error) {
	client := retryablehttp.NewClient()
	client.Logger = nil
	return []docker.RegistryHost{{
		Client:       client.StandardClient(),
		Host:         ref.Hostname(),
		Scheme:       "http",
		Path:         "/v2",
		Capabilities: docker.HostCapabilityPull | docker.HostCapabilityResolve,
	}}, nil
}
