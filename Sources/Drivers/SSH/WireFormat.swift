/// Reads the fields of SSH messages and keys (RFC 4251, section 5). Every read is nil past the end.
package struct WireReader {
    private var rest: ArraySlice<UInt8>

    package init(_ bytes: some Sequence<UInt8>) { rest = ArraySlice(bytes) }

    package var isAtEnd: Bool { rest.isEmpty }
    var remaining: [UInt8] { Array(rest) }

    package mutating func bytes(_ count: Int) -> [UInt8]? {
        guard count >= 0, rest.count >= count else { return nil }
        defer { rest = rest.dropFirst(count) }
        return Array(rest.prefix(count))
    }

    mutating func byte() -> UInt8? { rest.popFirst() }

    package mutating func uint32() -> UInt32? { bytes(4).map { $0.reduce(0) { $0 << 8 | UInt32($1) } } }

    /// A length and that many bytes.
    package mutating func string() -> [UInt8]? { uint32().flatMap { bytes(Int($0)) } }

    package mutating func text() -> String? { string().map { String(decoding: $0, as: UTF8.self) } }
}

package struct WireWriter {
    package private(set) var bytes: [UInt8] = []

    package init() {}

    mutating func byte(_ value: UInt8) { bytes.append(value) }

    package mutating func uint32(_ value: UInt32) {
        for shift in stride(from: 24, through: 0, by: -8) { bytes.append(UInt8(truncatingIfNeeded: value >> UInt32(shift))) }
    }

    package mutating func raw(_ value: some Sequence<UInt8>) { bytes.append(contentsOf: value) }

    package mutating func string(_ value: some Collection<UInt8>) {
        uint32(UInt32(value.count))
        bytes.append(contentsOf: value)
    }
}

/// Base64 as OpenSSH writes it. Foundation is not imported here for the sake of two functions.
package enum Base64 {
    private static let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)

    static func encode(_ bytes: some Sequence<UInt8>, padded: Bool = true) -> String {
        var result: [UInt8] = []
        var group: UInt32 = 0
        var count = 0
        func emit(_ characters: Int) {
            for index in 0..<characters { result.append(alphabet[Int(group >> UInt32(18 - 6 * index)) & 63]) }
        }
        for byte in bytes {
            group |= UInt32(byte) << UInt32(16 - 8 * count)
            count += 1
            if count == 3 {
                emit(4)
                group = 0
                count = 0
            }
        }
        if count > 0 {
            emit(count + 1)
            if padded { for _ in count..<3 { result.append(UInt8(ascii: "=")) } }
        }
        return String(decoding: result, as: UTF8.self)
    }

    /// nil where anything but the alphabet and the right padding is in it.
    package static func decode(_ text: some Sequence<UInt8>) -> [UInt8]? {
        var result: [UInt8] = []
        var group: UInt32 = 0
        var count = 0
        var padding = 0
        for character in text {
            let value: UInt8
            switch character {
            case UInt8(ascii: "A")...UInt8(ascii: "Z"): value = character - UInt8(ascii: "A")
            case UInt8(ascii: "a")...UInt8(ascii: "z"): value = character - UInt8(ascii: "a") + 26
            case UInt8(ascii: "0")...UInt8(ascii: "9"): value = character - UInt8(ascii: "0") + 52
            case UInt8(ascii: "+"): value = 62
            case UInt8(ascii: "/"): value = 63
            case UInt8(ascii: "="):
                padding += 1
                continue
            default: return nil
            }
            if padding > 0 { return nil }
            group = group << 6 | UInt32(value)
            count += 1
            if count == 4 {
                result += [UInt8(group >> 16 & 255), UInt8(group >> 8 & 255), UInt8(group & 255)]
                group = 0
                count = 0
            }
        }
        switch (count, padding) {
        case (0, 0): break
        case (2, 2): result.append(UInt8(group >> 4 & 255))
        case (3, 1): result += [UInt8(group >> 10 & 255), UInt8(group >> 2 & 255)]
        default: return nil
        }
        return result
    }
}
