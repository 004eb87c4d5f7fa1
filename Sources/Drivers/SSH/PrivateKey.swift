/// A user's private key, ready to sign.
struct PrivateKey: Hashable, Sendable {
    /// Where it came from.
    var path: String
    /// What libssh2 is given: PEM or OpenSSH text that needs no passphrase. The text is never printed.
    var text: [UInt8]
    /// nil where the format does not tell.
    var publicKey: PublicKey?
}
