/// What the server said in the clear before keys were agreed on: its greeting and its offers. libssh2 keeps these to itself, and without them no
/// message can say why two sides don't find together.
struct Opening: Hashable, Sendable {
    /// `SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u10`
    var greeting: String?
    /// What stood before the greeting, or instead of it.
    var words: String
    var offers: Offers?

    struct Offers: Hashable, Sendable {
        var keyExchange: [String]
        var hostKeys: [String]
        var ciphers: [String]
        var authentication: [String]
    }

    init(_ bytes: [UInt8]) {
        var before: [UInt8] = []
        var rest = bytes[...]
        greeting = nil
        while let end = rest.firstIndex(of: UInt8(ascii: "\n")) {
            let line = rest[..<end]
            rest = rest[(end + 1)...]
            if line.starts(with: Array("SSH-".utf8)) {
                greeting = String(decoding: line, as: UTF8.self).quotable(limit: 100)
                break
            }
            before += line + [UInt8(ascii: " ")]
        }
        words = String(decoding: before + (greeting == nil ? Array(rest.prefix(200)) : []), as: UTF8.self).quotable(limit: 80)
        offers = greeting == nil ? nil : Self.offers(rest)
    }

    /// The KEXINIT message, in its unencrypted packet (RFC 4253, sections 6 and 7.1).
    private static func offers(_ bytes: ArraySlice<UInt8>) -> Offers? {
        var reader = WireReader(bytes)
        guard reader.uint32() != nil, reader.byte() != nil, reader.byte() == 20, reader.bytes(16) != nil else { return nil }
        var lists: [[String]] = []
        for _ in 0..<5 {
            guard let list = reader.text() else { return nil }
            lists.append(list.split(separator: ",").map(String.init))
        }
        // Key exchange, host keys, ciphers to the server and back, authentication of messages.
        return Offers(keyExchange: lists[0], hostKeys: lists[1], ciphers: lists[2], authentication: lists[4])
    }
}

extension SessionBuffers {
    var greeting: String? { Opening(opening).greeting }
    var openingWords: String { Opening(opening).words }
}
