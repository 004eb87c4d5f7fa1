internal import Crypto

/// A host's or a user's public key as it stands in known_hosts, `.pub` files and the protocol.
package struct PublicKey: Hashable, Sendable {
    /// `ssh-ed25519`, `ecdsa-sha2-nistp256`, `ssh-rsa`, …
    package let type: String
    package let blob: [UInt8]

    /// nil where the bytes don't begin with the name of a type.
    package init?(blob: [UInt8]) {
        var reader = WireReader(blob)
        guard let name = reader.string(), !name.isEmpty, name.count <= 64, name.allSatisfy({ (0x21...0x7e).contains($0) }), !reader.isAtEnd else {
            return nil
        }
        type = String(decoding: name, as: UTF8.self)
        // The plain types are strings and nothing else (RFC 4253, 5656, 8709), so a key that was cut short shows.
        if ["ssh-ed25519", "ssh-rsa", "ssh-dss"].contains(type) || type.hasPrefix("ecdsa-sha2-") && !type.contains("@") {
            while !reader.isAtEnd {
                guard let part = reader.string(), !part.isEmpty else { return nil }
            }
        }
        self.blob = blob
    }

    /// `TYPE BASE64 [COMMENT]`, the type being that of the key inside.
    package init?(text: some StringProtocol) {
        let words = text.split(whereSeparator: { $0 == " " || $0 == "\t" || $0.isNewline })
        guard words.count >= 2, let blob = Base64.decode(words[1].utf8), let key = PublicKey(blob: blob), key.type == words[0] else { return nil }
        self = key
    }

    /// `TYPE BASE64`.
    package var text: String { "\(type) \(Base64.encode(blob))" }

    /// `SHA256:…` as `ssh-keygen -l` prints it.
    package var fingerprint: String { "SHA256:" + Base64.encode(SHA256.hash(data: blob), padded: false) }

    var isRSA: Bool { type == "ssh-rsa" }

    /// Keys on a hardware token, which libssh2 can't sign with.
    package var isSecurityKey: Bool { type.hasPrefix("sk-") }

    package var isCertificate: Bool { type.hasSuffix("-cert-v01@openssh.com") }
}
