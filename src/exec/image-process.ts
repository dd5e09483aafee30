/**
 * What `src/exec` needs of an image config: how its process is to be started. Names and meaning are
 * those of the OCI image-spec (config.md, "Properties", `config`), so that a parsed image config
 * fits as it is.
 */
export interface ImageProcess {
  /** `user`, `uid`, `user:group`, `uid:gid`, `uid:group`, `user:gid`; empty for root. */
  User?: string | undefined;
  /** `NAME=value`. */
  Env?: readonly string[] | null | undefined;
  Entrypoint?: readonly string[] | null | undefined;
  Cmd?: readonly string[] | null | undefined;
  WorkingDir?: string | undefined;
  /** A signal's name or number, as text. */
  StopSignal?: string | undefined;
  /** Keys are the absolute paths. */
  Volumes?: Readonly<Record<string, unknown>> | null | undefined;
}

/** The part of an image config which is looked at here. */
export interface RunnableImage {
  readonly config?: ImageProcess | null | undefined;
}
