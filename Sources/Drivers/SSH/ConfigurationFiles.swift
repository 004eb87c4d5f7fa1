internal import Crypto

#if canImport(Glibc)
internal import Glibc
#elseif canImport(Musl)
internal import Musl
#endif

/// The ssh configuration files of this machine, looked at just closely enough to know whether `ssh -G` has to be asked what they mean for a host, and
/// whether its answer stays the same until one of them changes.
struct ConfigurationFiles: Hashable, Sendable {
    /// A digest of all files with their names.
    private(set) var fingerprint = ""
    /// Some line bears on how a host is reached.
    private(set) var mustAsk = false
    /// The answer depends on more than these files: on programs that are run, on networks, on DNS.
    private(set) var isCacheable = true
    /// The files that were found.
    private(set) var files: [String] = []

    /// What we follow, or have to name because we don't. All other options mean nothing to us: a host that only sets those is reached by defaults.
    private static let relevant: Set<String> = [
        "addressfamily", "bindaddress", "bindinterface", "canonicalizehostname", "certificatefile", "connecttimeout", "globalknownhostsfile",
        "hostkeyalias", "hostname", "identitiesonly", "identityagent", "identityfile", "knownhostscommand", "match", "pkcs11provider", "port",
        "proxycommand", "proxyjump", "pubkeyauthentication", "revokedhostkeys", "securitykeyprovider", "stricthostkeychecking", "tag", "user",
        "userknownhostsfile", "verifyhostkeydns",
    ]

    private static let deepestInclude = 16

    /// - Parameter file: `--ssh-config`, which replaces all others; nil: OpenSSH's own.
    init(file: String?) {
        var digest = SHA256()
        if let file {
            read(file, folder: "\(LocalFiles.home)/.ssh", depth: 0, &digest)
        } else {
            read("\(LocalFiles.home)/.ssh/config", folder: "\(LocalFiles.home)/.ssh", depth: 0, &digest)
            read("/etc/ssh/ssh_config", folder: "/etc/ssh", depth: 0, &digest)
        }
        fingerprint = digest.finalize().map { String($0 >> 4, radix: 16) + String($0 & 15, radix: 16) }.joined()
    }

    private mutating func read(_ path: String, folder: String, depth: Int, _ digest: inout SHA256) {
        let content: LocalFiles.Content
        do throws(LocalFiles.Problem) {
            content = try LocalFiles.read(path, limit: 4 << 20)
        } catch {
            // ssh says what is wrong with a file that is there.
            if error != .missing, path != "/dev/null" { mustAsk = true }
            return
        }
        files.append(path)
        digest.update(data: Array("\(path)\0\(content.bytes.count)\0".utf8))
        digest.update(data: content.bytes)
        for line in String(decoding: content.bytes, as: UTF8.self).split(whereSeparator: \.isNewline) {
            let words = Self.words(line)
            guard let keyword = words.first?.lowercased() else { continue }
            // Environment variables come and go without any file changing.
            if line.contains("${") { isCacheable = false }
            switch keyword {
            case "include":
                for pattern in words.dropFirst() { include(pattern, folder: folder, depth: depth, &digest) }
            case "match":
                mustAsk = true
                if words.contains(where: { ["exec", "!exec", "localnetwork", "!localnetwork"].contains($0.lowercased()) }) { isCacheable = false }
            default:
                if keyword == "canonicalizehostname" { isCacheable = false }
                if Self.relevant.contains(keyword) { mustAsk = true }
            }
        }
    }

    private mutating func include(_ pattern: String, folder: String, depth: Int, _ digest: inout SHA256) {
        var path = LocalFiles.expanded(pattern)
        // Tokens and variables are ssh's to expand.
        guard !path.contains("%"), !path.contains("$"), depth < Self.deepestInclude else {
            mustAsk = true
            isCacheable = false
            return
        }
        if !path.hasPrefix("/") { path = "\(folder)/\(path)" }
        for file in Self.matches(of: path) { read(file, folder: folder, depth: depth + 1, &digest) }
    }

    private static func matches(of pattern: String) -> [String] {
        var result = glob_t()
        defer { globfree(&result) }
        guard glob(pattern, 0, nil, &result) == 0, let paths = result.gl_pathv else { return [] }
        return (0..<Int(result.gl_pathc)).compactMap { paths[$0].map { String(cString: $0) } }
    }

    /// The words of a line: after the keyword there may be a `=`, and double quotes hold a word together.
    static func words(_ line: some StringProtocol) -> [String] {
        var words: [String] = []
        var word = ""
        var isQuoted = false
        func isBlank(_ character: Character) -> Bool { character == " " || character == "\t" || character == "\r" }
        for character in line {
            if character == "#", words.isEmpty, word.isEmpty { return [] }
            if character == "\"" {
                isQuoted.toggle()
            } else if !isQuoted, isBlank(character) || (character == "=" && words.count <= 1 && (words.isEmpty || word.isEmpty)) {
                if !word.isEmpty { words.append(word) }
                word = ""
            } else {
                word.append(character)
            }
        }
        if !word.isEmpty { words.append(word) }
        return words
    }
}
