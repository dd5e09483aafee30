/** What this process has asked of registries, all clients together; counted where bytes come in. */
export const traffic = {
  /** Attempts, redirects and token requests among them. */
  requests: 0,
  /** Of bodies that somebody wanted. */
  receivedBytes: 0,
};
