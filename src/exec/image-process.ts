/**
 * What is needed of an image config here: how its process is to be started. Names and meaning are
 * those of the OCI image-spec (config.md, "Properties", `config`); a parsed image config fits as it
 * is. Empty and absent are the same.
 */
export interface ImageProcess {
  /** `user`, `uid`, `user:group`, `uid:gid`, `uid:group`, `user:gid`; empty for root. */
  User?: string;
  /** `NAME=value` each. */
  Env?: readonly string[];
  Entrypoint?: readonly string[];
  Cmd?: readonly string[];
  WorkingDir?: string;
  /** A signal's name or number. */
  StopSignal?: string;
  /** Absolute paths. */
  Volumes?: readonly string[];
  /** `port/protocol` each. */
  ExposedPorts?: readonly string[];
  Labels?: Readonly<Record<string, string>>;
}

/** The part of an image config that is looked at here. */
export interface RunnableImage {
  readonly config?: ImageProcess;
  readonly os?: string;
  readonly architecture?: string;
  readonly variant?: string | undefined;
  readonly author?: string | undefined;
  readonly created?: string | undefined;
}
