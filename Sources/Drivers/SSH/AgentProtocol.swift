/// The messages of the ssh-agent protocol (draft-ietf-sshm-ssh-agent) that we use.
enum AgentProtocol {
    struct Identity: Hashable, Sendable {
        var key: PublicKey
        var comment: String
    }

    enum Malformed: Error, Hashable, Sendable {
        /// The agent said "failure".
        case refused
        case unreadable
    }

    /// An answer is a signature or some dozens of keys; more is no agent.
    static let longestAnswer = 256 << 10

    private enum Number {
        static let failure: UInt8 = 5
        static let requestIdentities: UInt8 = 11
        static let identities: UInt8 = 12
        static let signRequest: UInt8 = 13
        static let signature: UInt8 = 14
    }

    private static func framed(_ message: WireWriter) -> [UInt8] {
        var frame = WireWriter()
        frame.string(message.bytes)
        return frame.bytes
    }

    static func requestIdentities() -> [UInt8] {
        var message = WireWriter()
        message.byte(Number.requestIdentities)
        return framed(message)
    }

    /// - Parameter flags: 2 asks for rsa-sha2-256, 4 for rsa-sha2-512; other keys ignore them.
    static func requestSignature(of data: [UInt8], by key: PublicKey, flags: UInt32 = 0) -> [UInt8] {
        var message = WireWriter()
        message.byte(Number.signRequest)
        message.string(key.blob)
        message.string(data)
        message.uint32(flags)
        return framed(message)
    }

    /// The length of the message that begins here, without the four bytes of the length itself; nil while these are not there.
    static func length(_ bytes: some Sequence<UInt8>) -> Int? {
        var reader = WireReader(bytes.prefix(4))
        return reader.uint32().map { Int($0) }
    }

    /// - Parameter message: An answer without its length.
    static func identities(_ message: [UInt8]) throws(Malformed) -> [Identity] {
        var reader = WireReader(message)
        guard let number = reader.byte() else { throw .unreadable }
        if number == Number.failure { throw .refused }
        guard number == Number.identities, let count = reader.uint32(), count <= 4096 else { throw .unreadable }
        var identities: [Identity] = []
        for _ in 0..<count {
            guard let blob = reader.string(), let comment = reader.text() else { throw .unreadable }
            // A key of a kind we can't read is not ours to use.
            if let key = PublicKey(blob: blob) { identities.append(Identity(key: key, comment: comment)) }
        }
        return identities
    }

    /// The signature proper, without the name of its algorithm, as libssh2 wants it.
    static func signature(_ message: [UInt8], algorithm: String) throws(Malformed) -> [UInt8] {
        var reader = WireReader(message)
        guard let number = reader.byte() else { throw .unreadable }
        if number == Number.failure { throw .refused }
        guard number == Number.signature, let blob = reader.string() else { throw .unreadable }
        var inner = WireReader(blob)
        guard let name = inner.text(), name == algorithm, let signature = inner.string(), inner.isAtEnd else { throw .unreadable }
        return signature
    }
}
