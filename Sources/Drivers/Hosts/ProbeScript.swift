/// What is sent to a resident shell to read all sections at once, and how its answer is cut up again.
///
/// Each section runs in a subshell of its own without input. What it prints on either stream ends with a separator that carries a random value, so
/// nothing that a host prints by itself can be taken for one; what comes before the first is a banner or the noise of a startup file.
struct ProbeScript: Sendable {
    let names: [String]
    let separator: String
    let text: String

    /// - Parameter separator: random, of letters, digits and `-`.
    init(_ sections: [HostSection], usesSudo: Bool, separator: String) {
        names = sections.map(\.name)
        self.separator = separator
        var lines = [
            "LC_ALL=C PATH=\(Self.path)", "export LC_ALL PATH", "unset ENV BASH_ENV",
            usesSudo ? "if [ \"$(id -u)\" = 0 ]; then SUDO=; else SUDO='sudo -n'; fi" : "SUDO=",
            "plumb_end() { printf '\\n\(separator) %s %s\\n' \"$1\" \"$2\"; printf '\\n\(separator) %s %s\\n' \"$1\" \"$2\" >&2; }",
            "plumb_end begin 0",
        ]
        for (index, section) in sections.enumerated() {
            lines += ["(", section.script, ") </dev/null", "plumb_end \(index) $?"]
        }
        text = lines.joined(separator: "\n") + "\n"
    }

    static let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
}

/// One stream of a probe's answer, cut at its separators as it arrives.
struct ProbeStream: Sendable {
    private let marker: [UInt8]
    private var buffer: [UInt8] = []
    private var searched = 0
    private(set) var hasBegun = false
    /// The noise before the beginning, at most its first bytes.
    private(set) var noise: [UInt8] = []
    private(set) var noiseCount = 0
    /// By the number of their section.
    private(set) var parts: [Int: (status: Int32, bytes: [UInt8])] = [:]
    private(set) var size = 0

    init(separator: String) { marker = Array("\n\(separator) ".utf8) }

    mutating func receive(_ bytes: [UInt8]) {
        size += bytes.count
        buffer += bytes
        while let range = nextSeparator() {
            let content = Array(buffer[..<range.lowerBound])
            let words = String(decoding: buffer[(range.lowerBound + marker.count)..<range.upperBound], as: UTF8.self).split(separator: " ")
            buffer.removeSubrange(...range.upperBound)
            searched = 0
            if words.first == "begin" {
                hasBegun = true
                keepNoise(content)
            } else if hasBegun, words.count == 2, let index = Int(words[0]), let status = Int32(words[1]) {
                parts[index] = (status, content)
            }
        }
        if !hasBegun, buffer.count > 64 * 1024 {
            // A separator may have begun in the last bytes.
            let kept = marker.count + 64
            keepNoise(Array(buffer.dropLast(kept)))
            buffer = Array(buffer.suffix(kept))
            searched = 0
        }
    }

    private mutating func keepNoise(_ bytes: [UInt8]) {
        noiseCount += bytes.count
        noise += bytes.prefix(200 - min(200, noise.count))
    }

    /// From the line feed before the separator to the one that ends its line.
    private mutating func nextSeparator() -> ClosedRange<Int>? {
        var start = searched
        while let found = buffer[start...].firstIndex(of: marker[0]) {
            let rest = buffer[found...]
            if rest.count < marker.count {
                searched = found
                return nil
            }
            if rest.prefix(marker.count).elementsEqual(marker) {
                guard let end = buffer[(found + marker.count)...].firstIndex(of: marker[0]) else {
                    searched = found
                    return nil
                }
                return found...end
            }
            start = found + 1
        }
        searched = buffer.count
        return nil
    }
}

/// Both streams of a probe's answer.
struct ProbeAnswer: Sendable {
    private let names: [String]
    private var output: ProbeStream
    private var errors: ProbeStream

    init(_ script: ProbeScript) {
        names = script.names
        output = ProbeStream(separator: script.separator)
        errors = ProbeStream(separator: script.separator)
    }

    /// Bytes that one probe may bring, noise included.
    static let limit = 8 << 20

    mutating func receive(output bytes: [UInt8]) { output.receive(bytes) }
    mutating func receive(errorOutput bytes: [UInt8]) { errors.receive(bytes) }

    var isTooLarge: Bool { output.size + errors.size > Self.limit }
    var hasBegun: Bool { output.hasBegun }
    var noise: String { String(decoding: output.noise.isEmpty ? errors.noise : output.noise, as: UTF8.self) }
    var size: Int { output.size + errors.size }

    /// Of the section that the host is at, for a message.
    var current: String? { names.indices.first { output.parts[$0] == nil }.map { names[$0] } }

    /// All sections, once they are all there.
    var sections: [String: CommandResult]? {
        guard output.parts.count == names.count, errors.parts.count == names.count else { return nil }
        var sections: [String: CommandResult] = [:]
        for (index, name) in names.enumerated() {
            guard let out = output.parts[index], let err = errors.parts[index] else { return nil }
            sections[name] = CommandResult(
                status: out.status,
                output: String(decoding: out.bytes, as: UTF8.self),
                errorOutput: String(decoding: err.bytes, as: UTF8.self)
            )
        }
        return sections
    }
}
