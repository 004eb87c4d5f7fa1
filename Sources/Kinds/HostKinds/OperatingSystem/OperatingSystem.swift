package import ResourceModel
import Values
import YAML

/// What must be true of a host's operating system for something else to work on it. It is only ever compared: a difference is `blocked: needs …`,
/// and mending it is up to a person.
///
/// | field | meaning | default |
/// |---|---|---|
/// | `distribution` | `ID` of os-release: `ubuntu`, `debian`; 64-bit Raspberry Pi OS calls itself `debian` | not asserted |
/// | `version` | `VERSION_ID` as a text, `"24.04"`, or `{atLeast: "24.04"}`, compared number by number | not asserted |
/// | `addressBits` | bits of a virtual address as the kernel was built, `48`, or `{atLeast: 48}` | not asserted |
/// | `pageSize` | bytes, a power of two | not asserted |
package enum OperatingSystem {
    package static let name = "OperatingSystem"

    package static let kind = RegisteredKind(
        name: name,
        decode: { decode(&$0) },
        probe: probe,
        detect: { detect($0, $1) },
        // Nothing is ever changed: `detect` finds no difference that it does not call a problem.
        change: { _ in Change(steps: []) }
    )

    /// An exact value or a least one.
    enum Requirement<Wanted: Hashable>: Hashable {
        case exactly(Wanted)
        case atLeast(Wanted)
    }

    struct Requirements: Hashable {
        var distribution: String?
        var version: Requirement<String>?
        /// Bits.
        var addressBits: Requirement<Int64>?
        /// Bytes.
        var pageSize: Int64?

        init(_ fields: Value) {
            distribution = fields["distribution"]?.stringValue
            version = fields["version"].flatMap { Self.requirement($0, \.stringValue) }
            addressBits = fields["addressBits"].flatMap { Self.requirement($0, \.intValue) }
            pageSize = fields["pageSize"]?.intValue
        }

        private static func requirement<Wanted>(_ value: Value, _ read: (Value) -> Wanted?) -> Requirement<Wanted>? {
            if let exact = read(value) { return .exactly(exact) }
            return value["atLeast"].flatMap(read).map { .atLeast($0) }
        }
    }

    static func decode(_ decoder: inout SpecDecoder) -> [DeclaredSetting] {
        var fields: Value = [:]
        fields["distribution"] = decodeDistribution(&decoder)
        fields["version"] = decodeRequirement("version", in: &decoder, decodeVersion)
        fields["addressBits"] = decodeRequirement("addressBits", in: &decoder, decodeBits)
        fields["pageSize"] = decodePageSize(&decoder)
        if fields.objectValue?.isEmpty == true, decoder.diagnostics.isEmpty {
            decoder.report("nothing is asserted", at: decoder.position, fix: "Give at least one of: distribution, version, addressBits, pageSize.")
        }
        var positions: [String: SourcePosition] = [:]
        for field in ["distribution", "version", "addressBits", "pageSize"] { positions[field] = decoder.position(of: field) }
        return [DeclaredSetting(resource: name, fields: fields, positions: positions)]
    }

    private static func decodeDistribution(_ decoder: inout SpecDecoder) -> Value? {
        let position = decoder.position(of: "distribution")
        guard let text = decoder.string("distribution") else { return nil }
        let isID =
            text.first.map { $0.isLetter || $0.isNumber } ?? false
            && text.utf8.allSatisfy { byte in
                (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte) || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
                    || "._-".utf8.contains(byte)
            }
        if isID { return .string(text) }
        decoder.report(
            "'\(text)' is no ID of a distribution",
            at: position,
            fix: "It is the ID of os-release, in small letters: ubuntu, debian, fedora."
        )
        return nil
    }

    /// A scalar, or a mapping with `atLeast`.
    private static func decodeRequirement(
        _ field: String,
        in decoder: inout SpecDecoder,
        _ read: (_ scalar: YAMLScalar, _ isLeast: Bool) -> (value: Value?, mistake: String)
    ) -> Value? {
        guard let node = decoder.node(field) else { return nil }
        if let scalar = node.scalar {
            let (value, mistake) = read(scalar, false)
            if value == nil { decoder.report("'\(field)' \(mistake)", at: node.position) }
            return value
        }
        var inner = SpecDecoder(node, path: field)
        let least = inner.required("atLeast") { $0.node("atLeast") }
        var result: Value?
        if let least {
            let (value, mistake) = least.scalar.map { read($0, true) } ?? (nil, "must be a single value")
            if let value { result = ["atLeast": value] } else { inner.report("'\(field).atLeast' \(mistake)", at: least.position) }
        }
        for mistake in inner.finish() { decoder.report(mistake.message, at: mistake.position, fix: mistake.fix) }
        return result
    }

    private static func decodeVersion(_ scalar: YAMLScalar, isLeast: Bool) -> (value: Value?, mistake: String) {
        // The text as it stands in the file: 24.10 is not 24.1.
        let text = scalar.text
        if isLeast { return (numbers(text) == nil ? nil : .string(text), "must be numbers with dots between them, such as 24.04") }
        let isVersion =
            !text.isEmpty
            && text.unicodeScalars.allSatisfy { $0.isASCII && ($0.properties.isAlphabetic || "0123456789._+~-".unicodeScalars.contains($0)) }
        return (isVersion ? .string(text) : nil, "must be a VERSION_ID of os-release, such as 24.04")
    }

    private static func decodeBits(_ scalar: YAMLScalar, isLeast: Bool) -> (value: Value?, mistake: String) {
        let bits = scalar.isPlain ? Int64(scalar.text).flatMap { (32...64).contains($0) ? Value.int($0) : nil } : nil
        return (bits, "must be a whole number of bits from 32 to 64")
    }

    private static func decodePageSize(_ decoder: inout SpecDecoder) -> Value? {
        let position = decoder.position(of: "pageSize")
        guard let size = decoder.int("pageSize", in: 1_024...1_048_576) else { return nil }
        if size & (size - 1) == 0 { return .int(Int64(size)) }
        decoder.report("'pageSize' must be a power of two", at: position, fix: "Pages have 4096, 16384 or 65536 bytes.")
        return nil
    }

    /// `24.04` as 24 and 4, or nil where there is anything else in it.
    static func numbers(_ version: String) -> [Int]? {
        let parts = version.split(separator: ".", omittingEmptySubsequences: false).map { part in
            part.utf8.allSatisfy((UInt8(ascii: "0")...UInt8(ascii: "9")).contains) ? Int(part) : nil
        }
        let numbers = parts.compactMap(\.self)
        return numbers.count == parts.count ? numbers : nil
    }
}
