internal import CLibSSH2

/// libssh2 as a whole.
package enum SSHLibrary {
    /// `libssh2_init` is not thread-safe, and libgit2 calls it as well: Composition touches this first. A `static let` is set once.
    package static let isReady: Bool = libssh2_init(0) == 0

    /// `1.10.0`.
    static let version: String = libssh2_version(0).map { String(cString: $0) } ?? "of unknown version"

    static let versionNumber: Int = {
        let parts = version.split(separator: ".").map { part in Int(part.prefix { $0.isNumber }) ?? 0 }
        return parts.prefix(3).reduce(0) { $0 << 8 | $1 }
    }()

    /// Before 1.11 it signs and verifies RSA with SHA-1 alone, which servers refuse since OpenSSH 8.8, and so do we.
    static var canRSA: Bool { versionNumber >= 0x01_0B00 }
}

/// What we agree to in a key exchange, best first. No SHA-1, no CBC; what this libssh2 lacks it leaves out by itself.
enum Algorithms {
    static let keyExchange = [
        "curve25519-sha256", "curve25519-sha256@libssh.org", "ecdh-sha2-nistp256", "ecdh-sha2-nistp384", "ecdh-sha2-nistp521",
        "diffie-hellman-group14-sha256", "diffie-hellman-group16-sha512", "diffie-hellman-group18-sha512", "diffie-hellman-group-exchange-sha256",
    ]

    // libssh2 has chacha20-poly1305 only since it has strict key exchange as well (1.11.1), so Terrapin does not apply.
    static let ciphers = [
        "aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "chacha20-poly1305@openssh.com", "aes128-ctr", "aes192-ctr", "aes256-ctr",
    ]

    static let authentication = [
        "hmac-sha2-256", "hmac-sha2-512", "hmac-sha2-256-etm@openssh.com", "hmac-sha2-512-etm@openssh.com",
    ]

    static var hostKeys: [String] {
        ["ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521"]
            + (SSHLibrary.canRSA ? ["rsa-sha2-512", "rsa-sha2-256"] : [])
    }

    /// The algorithms with which a key of this type can prove itself.
    static func hostKeys(for type: String) -> [String] {
        type == "ssh-rsa" ? hostKeys.filter { $0.hasPrefix("rsa-sha2-") } : hostKeys.filter { $0 == type }
    }
}
