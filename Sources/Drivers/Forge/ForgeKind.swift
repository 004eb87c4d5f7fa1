/// Who sends webhooks, by how they vouch for them.
package enum ForgeKind: String, Hashable, Sendable, CaseIterable {
    case bitbucket
    case forgejo
    /// Any script: `X-Signature: sha256=…`, the HMAC of the body in hexadecimal digits.
    case generic
    case gitea
    case github
    case gitlab
}
