package import ResourceModel

extension OperatingSystem {
    package static let probe: [ProbeSection] = [
        ProbeSection(name: "os-release", script: "if [ -r /etc/os-release ]; then cat /etc/os-release; else cat /usr/lib/os-release; fi"),
        ProbeSection(name: "kernel", script: "uname -srm"),
        ProbeSection(name: "page-size", script: "getconf PAGESIZE"),
        // arm64: as the kernel was configured, else the highest address of a process. x86_64: by the length of the page tables.
        ProbeSection(
            name: "address-bits",
            script: """
                case $(uname -m) in
                aarch64 | arm64)
                    grep '^CONFIG_ARM64_VA_BITS=' "/boot/config-$(uname -r)" 2>/dev/null ||
                        zcat /proc/config.gz 2>/dev/null | grep '^CONFIG_ARM64_VA_BITS=' ||
                        grep '\\[stack\\]' /proc/self/maps
                    ;;
                x86_64)
                    if grep -qw la57 /proc/cpuinfo; then echo 57; else echo 48; fi
                    ;;
                *)
                    echo "unknown $(uname -m)"
                    ;;
                esac
                """
        ),
    ]

    /// What os-release says; a missing field is nil, for rolling releases have no version.
    struct Release: Hashable {
        var id: String
        var version: String?
        var codename: String?

        var description: String { [id, version, codename.map { "(\($0))" }].compactMap(\.self).joined(separator: " ") }
    }

    static func release(in facts: HostFacts) throws(HostFacts.Unreadable) -> Release {
        let text = try facts.output(of: "os-release")
        let fields = parseRelease(text)
        guard let id = fields["ID"], !id.isEmpty else { throw .init("os-release has no ID: '\(HostFacts.firstLine(text))'") }
        return Release(id: id, version: fields["VERSION_ID"], codename: fields["VERSION_CODENAME"])
    }

    /// Assignments as a shell reads them, without expansion: bare, in single quotes, or in double quotes with `\` before `"`, `$`, `` ` `` and `\`.
    static func parseRelease(_ text: String) -> [String: String] {
        var fields: [String: String] = [:]
        for line in text.lines.map(\.trimmed) where !line.hasPrefix("#") {
            guard let equals = line.firstIndex(of: "=") else { continue }
            fields[String(line[..<equals])] = unquoted(line[line.index(after: equals)...])
        }
        return fields
    }

    private static func unquoted(_ text: Substring) -> String {
        var result = ""
        var quote: Character?
        var isEscaped = false
        for character in text {
            if isEscaped {
                if quote != nil, !"\"$`\\".contains(character) { result.append("\\") }
                result.append(character)
                isEscaped = false
            } else if character == "\\", quote != "'" {
                isEscaped = true
            } else if character == quote {
                quote = nil
            } else if quote == nil, character == "\"" || character == "'" {
                quote = character
            } else {
                result.append(character)
            }
        }
        return result
    }

    static func pageSize(in facts: HostFacts) throws(HostFacts.Unreadable) -> Int64 {
        let text = try facts.output(of: "page-size")
        guard let size = Int64(text.trimmed), size > 0 else { throw .init("'getconf PAGESIZE' printed '\(HostFacts.firstLine(text))'") }
        return size
    }

    static func addressBits(in facts: HostFacts) throws(HostFacts.Unreadable) -> Int64 {
        let text = try facts.output(of: "address-bits").trimmed
        if let bits = Int64(text), (32...64).contains(bits) { return bits }
        if text.hasPrefix("CONFIG_ARM64_VA_BITS="), let bits = Int64(text.dropFirst("CONFIG_ARM64_VA_BITS=".count)), (32...64).contains(bits) {
            return bits
        }
        // 7ffe8e096000-7ffe8e0b7000 rw-p 00000000 00:00 0    [stack]
        if text.hasSuffix("[stack]"), let range = text.split(separator: " ").first {
            let ends = range.split(separator: "-")
            if ends.count == 2, let top = UInt64(ends[1], radix: 16), top > 1 { return Int64(64 - (top - 1).leadingZeroBitCount) }
        }
        if text.hasPrefix("unknown ") { throw .init("the bits of an address can't be told on \(text.dropFirst("unknown ".count))") }
        throw .init("the bits of an address can't be told from '\(HostFacts.firstLine(text))'")
    }
}
