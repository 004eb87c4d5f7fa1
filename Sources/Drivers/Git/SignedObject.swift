/// A commit or a tag, taken apart into what was signed and the signature.
struct SignedObject: Hashable, Sendable {
    var payload: [UInt8]
    /// Armored, as it stands there; nil: none.
    var signature: String?
    /// What `tag` says in a tag: a signed tag is good for this name alone.
    var tagName: String?
    /// When it was made, as it says itself, in seconds since 1970.
    var time: Int64?

    private static let beginning = Array("-----BEGIN SSH SIGNATURE-----".utf8)

    /// nil where it is not as git writes it.
    init?(commit bytes: [UInt8]) {
        guard let headerEnd = Self.headerEnd(bytes) else { return nil }
        var payload: [UInt8] = []
        var signature: [UInt8]?
        var isSignature = false
        for line in Self.lines(bytes[..<headerEnd]) {
            if line.first == UInt8(ascii: " ") {
                if isSignature { signature?.append(contentsOf: line.dropFirst()) } else { payload.append(contentsOf: line) }
                continue
            }
            isSignature = line.starts(with: "gpgsig ".utf8)
            if isSignature {
                // Two signatures are none: which one would be that of the payload?
                guard signature == nil else { return nil }
                signature = Array(line.dropFirst(7))
                continue
            }
            // That of another hash has no part in what was signed, either.
            guard !line.starts(with: "gpgsig-".utf8) else { return nil }
            if line.starts(with: "committer ".utf8) { time = Self.time(line) }
            payload.append(contentsOf: line)
        }
        payload.append(contentsOf: bytes[headerEnd...])
        self.payload = payload
        self.signature = signature.map { String(decoding: $0, as: UTF8.self) }
    }

    init?(tag bytes: [UInt8]) {
        guard let headerEnd = Self.headerEnd(bytes) else { return nil }
        for line in Self.lines(bytes[..<headerEnd]) {
            if line.starts(with: "tag ".utf8), tagName == nil { tagName = String(decoding: line.dropFirst(4).dropLast(), as: UTF8.self) }
            if line.starts(with: "tagger ".utf8) { time = Self.time(line) }
        }
        // At the start of a line; the last one counts, as in git.
        var start: Int?
        var index = headerEnd
        for line in Self.lines(bytes[headerEnd...]) {
            if line.starts(with: Self.beginning) { start = index }
            index += line.count
        }
        payload = Array(bytes[..<(start ?? bytes.count)])
        signature = start.map { String(decoding: bytes[$0...], as: UTF8.self) }
    }

    /// Where the empty line after the headers begins.
    private static func headerEnd(_ bytes: [UInt8]) -> Int? {
        let newline = UInt8(ascii: "\n")
        return bytes.indices.dropLast().first { bytes[$0] == newline && bytes[$0 + 1] == newline }.map { $0 + 1 }
    }

    /// With their ends.
    private static func lines(_ bytes: ArraySlice<UInt8>) -> [ArraySlice<UInt8>] {
        var lines: [ArraySlice<UInt8>] = []
        var start = bytes.startIndex
        while start < bytes.endIndex {
            let end = bytes[start...].firstIndex(of: UInt8(ascii: "\n")).map { $0 + 1 } ?? bytes.endIndex
            lines.append(bytes[start..<end])
            start = end
        }
        return lines
    }

    /// `NAME <ADDRESS> SECONDS ZONE`
    private static func time(_ line: ArraySlice<UInt8>) -> Int64? {
        guard let mark = line.lastIndex(of: UInt8(ascii: ">")) else { return nil }
        return String(decoding: line[(mark + 1)...], as: UTF8.self).split(separator: " ").first.flatMap { Int64($0) }
    }
}
