/// A user's private key, ready to sign. Neither the text nor the passphrase is ever printed.
struct PrivateKey: Hashable, Sendable, CustomStringConvertible {
    /// Where it came from.
    var path: String
    /// What libssh2 is given: PEM or OpenSSH text.
    var text: [UInt8]
    /// Only for PEM, which libssh2 decrypts by itself; keys of OpenSSH's own format are decrypted once, by us.
    var passphrase: String?
    /// nil where the format does not tell.
    var publicKey: PublicKey?

    var description: String { "\(path)\(publicKey.map { " (\($0.fingerprint))" } ?? "")" }
}
