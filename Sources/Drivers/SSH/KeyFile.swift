/// What a private key file holds, as far as can be told without its passphrase.
struct KeyFile: Hashable, Sendable {
    enum Format: Hashable, Sendable {
        /// `openssh-key-v1`; the public key stands there in the clear.
        case openSSH(PublicKey, OpenSSHKey)
        /// PEM of the given algorithm; nil: PKCS #8, which tells only inside.
        case pem(algorithm: String?, isEncrypted: Bool)
    }

    var path: String
    var text: [UInt8]
    var format: Format

    /// What is wrong with a file, to follow its path in a message.
    struct Unusable: Error, Hashable, Sendable {
        var reason: String
        var isMissing = false
    }

    init(path: String, text: [UInt8]) throws(Unusable) {
        self.path = path
        self.text = text
        let content = String(decoding: text, as: UTF8.self)
        if content.hasPrefix("PuTTY-User-Key-File") {
            throw Unusable(reason: "is a PuTTY key; convert it: puttygen FILE -O private-openssh -o NEW-FILE")
        }
        if PublicKey(text: content) != nil {
            throw Unusable(reason: "is a public key; the private one is needed, usually the same name without '.pub'")
        }
        guard let begin = content.range(from: "-----BEGIN ", to: "-----") else { throw Unusable(reason: "is no private key") }
        let kind = String(content[begin])
        switch kind {
        case "OPENSSH PRIVATE KEY":
            guard let key = OpenSSHKey(armored: content), let publicKey = PublicKey(blob: key.publicBlob) else {
                throw Unusable(reason: "is an OpenSSH key that is cut short or damaged")
            }
            format = .openSSH(publicKey, key)
        case "EC PRIVATE KEY", "RSA PRIVATE KEY", "DSA PRIVATE KEY":
            format = .pem(algorithm: String(kind.prefix { $0 != " " }), isEncrypted: content.contains("Proc-Type: 4,ENCRYPTED"))
        case "PRIVATE KEY": format = .pem(algorithm: nil, isEncrypted: false)
        case "ENCRYPTED PRIVATE KEY": format = .pem(algorithm: nil, isEncrypted: true)
        default: throw Unusable(reason: "holds a '\(kind.quotable(limit: 40))', which is no private key")
        }
    }

    var publicKey: PublicKey? {
        if case .openSSH(let key, _) = format { return key }
        return nil
    }

    var isEncrypted: Bool {
        switch format {
        case .openSSH(_, let key): key.isEncrypted
        case .pem(_, let isEncrypted): isEncrypted
        }
    }

    /// Why keys of this type can't be used, or nil.
    var obstacle: String? {
        if case .pem(let algorithm, _) = format {
            if algorithm == "DSA" { return Self.dsaObstacle }
            if algorithm == "RSA", !SSHLibrary.canRSA { return Self.rsaObstacle }
            return nil
        }
        return publicKey.flatMap { Self.obstacle(of: $0) }
    }

    static func obstacle(of key: PublicKey) -> String? {
        if key.isRSA, !SSHLibrary.canRSA { return rsaObstacle }
        if key.isSecurityKey { return "is a security key (\(key.type)), which libssh2 can't use; make an ordinary one: ssh-keygen -t ed25519" }
        if key.isCertificate { return "is a certificate, which libssh2 can't use" }
        if key.type == "ssh-dss" { return dsaObstacle }
        return nil
    }

    private static let dsaObstacle = "is a DSA key, which servers no longer take; make an ed25519 key: ssh-keygen -t ed25519"

    private static var rsaObstacle: String {
        "is an RSA key, and libssh2 \(SSHLibrary.version) signs with those only by SHA-1, which servers refuse since OpenSSH 8.8; "
            + "use an ed25519 or ecdsa key (ssh-keygen -t ed25519) or libssh2 1.11"
    }
}

extension String {
    fileprivate func range(from start: String, to end: String) -> Range<String.Index>? {
        var index = startIndex
        while index < endIndex, !self[index...].hasPrefix(start) { index = self.index(after: index) }
        guard index < endIndex else { return nil }
        let begin = self.index(index, offsetBy: start.count)
        var stop = begin
        while stop < endIndex, !self[stop...].hasPrefix(end) { stop = self.index(after: stop) }
        return stop < endIndex ? begin..<stop : nil
    }
}

/// The container of OpenSSH's own private keys (PROTOCOL.key).
struct OpenSSHKey: Hashable, Sendable {
    var cipher: String
    var derivation: String
    var derivationOptions: [UInt8]
    var publicBlob: [UInt8]
    var secret: [UInt8]
    /// What follows the secret part: the tag of a cipher that authenticates.
    var tag: [UInt8]

    static let magic = Array("openssh-key-v1\0".utf8)

    var isEncrypted: Bool { cipher != "none" }

    init?(armored text: String) {
        let lines = text.split(whereSeparator: \.isNewline).drop { !$0.hasPrefix("-----BEGIN ") }.dropFirst().prefix { !$0.hasPrefix("-----END ") }
        guard let bytes = Base64.decode(lines.joined().utf8) else { return nil }
        var reader = WireReader(bytes)
        guard reader.bytes(Self.magic.count) == Self.magic, let cipher = reader.text(), let derivation = reader.text(), let options = reader.string(),
            reader.uint32() == 1, let publicBlob = reader.string(), let secret = reader.string()
        else { return nil }
        self.cipher = cipher
        self.derivation = derivation
        derivationOptions = options
        self.publicBlob = publicBlob
        self.secret = secret
        tag = reader.remaining
    }

    /// The same key without a passphrase, as text for libssh2.
    static func armored(publicBlob: [UInt8], secret: [UInt8]) -> [UInt8] {
        var writer = WireWriter()
        writer.raw(magic)
        writer.string("none".utf8)
        writer.string("none".utf8)
        writer.string([])
        writer.uint32(1)
        writer.string(publicBlob)
        writer.string(secret)
        var text = Array("-----BEGIN OPENSSH PRIVATE KEY-----\n".utf8)
        let encoded = Array(Base64.encode(writer.bytes).utf8)
        for start in stride(from: 0, to: encoded.count, by: 70) { text += encoded[start..<min(start + 70, encoded.count)] + [UInt8(ascii: "\n")] }
        return text + Array("-----END OPENSSH PRIVATE KEY-----\n".utf8)
    }
}
