/** The last thing the demo prints: how siphon gets into containerd. */
export const CONTAINERD_LINES = `
  1. /etc/containerd/config.toml

       version = 2
       [proxy_plugins.siphon]
         type = "snapshot"
         address = "/run/siphon/siphon.sock"

  2. siphon serve &
     systemctl restart containerd

  3. ctr-remote images rpull --snapshotter siphon HOST/IMAGE:TAG
     ctr run --rm --snapshotter siphon HOST/IMAGE:TAG NAME
     or:
     nerdctl --snapshotter siphon run --rm HOST/IMAGE:TAG
`;
