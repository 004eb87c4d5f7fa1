import Crypto
import Foundation
import Glibc
import PathPatterns

/// One file of specs, as it was read.
package struct SourceFile: Hashable, Sendable {
    /// As the person who named the source would type it: `state/hosts.yaml`.
    package var path: String
    /// Relative to the source, for path patterns: `hosts.yaml`.
    package var relativePath: String
    package var bytes: [UInt8]
}

/// Why a source, or a part of it, is not read. One is enough to apply nothing of it.
package struct SourceProblem: Error, Hashable, Sendable {
    package var path: String
    package var message: String
    package var fix: String

    init(_ path: String, _ message: String, fix: String = "") {
        self.path = path
        self.message = message
        self.fix = fix
    }
}

/// How much a source may hold. Each is far above what people write and far below what hurts.
package struct SourceLimits: Sendable {
    /// Of one file, in bytes.
    package var fileBytes = 4 * 1024 * 1024
    /// Of all files together, in bytes.
    package var totalBytes = 64 * 1024 * 1024
    package var files = 20_000
    package var depth = 32

    package init() {}
}

/// Reads a folder of specs, or one file.
///
/// `*.yaml` and `*.yml`, recursively, in the byte order of their paths. Hidden names are skipped, and what `.plumbignore` matches (gitignore's
/// syntax, in any folder). Links are followed where they stay inside the source; one that leaves it is a problem, never skipped and never read.
package func readSource(_ path: String, limits: SourceLimits = SourceLimits()) -> (files: [SourceFile], problems: [SourceProblem]) {
    var reader = SourceReader(root: path, limits: limits)
    reader.read()
    reader.files.sort { Array($0.path.utf8).lexicographicallyPrecedes(Array($1.path.utf8)) }
    return (reader.files, reader.problems)
}

/// Hash of all files' names and contents.
package func contentDigest(of files: [SourceFile]) -> String {
    var hash = SHA256()
    for file in files {
        hash.update(data: Array("\(file.relativePath.utf8.count):\(file.relativePath)\(file.bytes.count):".utf8))
        hash.update(data: file.bytes)
    }
    return hash.finalize().map { byte in (byte < 16 ? "0" : "") + String(byte, radix: 16) }.joined()
}

private struct SourceReader {
    let root: String
    let limits: SourceLimits
    var files: [SourceFile] = []
    var problems: [SourceProblem] = []
    private var total = 0
    private var isOverLimit = false
    /// The source with all links resolved, to tell what leaves it.
    private var realRoot = ""
    private var visited: Set<String> = []

    init(root: String, limits: SourceLimits) {
        self.root = root
        self.limits = limits
    }

    mutating func read() {
        guard let real = Self.resolve(root) else {
            problems.append(SourceProblem(root, "no such file or folder", fix: "Give the folder that holds the specs, or one YAML file."))
            return
        }
        realRoot = real
        switch Self.kind(of: real) {
        case .folder: readFolder(path: root, relative: "", real: real, ignores: [], depth: 0)
        case .file: readFile(path: root, relative: (real as NSString).lastPathComponent, real: real)
        case .other, nil: problems.append(SourceProblem(root, "is neither a file nor a folder"))
        }
        if files.isEmpty, problems.isEmpty {
            problems.append(SourceProblem(root, "holds no specs", fix: "Specs are *.yaml and *.yml files that are not hidden or ignored."))
        }
    }

    private mutating func readFolder(path: String, relative: String, real: String, ignores: [(base: String, PathPatterns)], depth: Int) {
        guard visited.insert(real).inserted else { return }
        guard depth <= limits.depth else {
            problems.append(SourceProblem(path, "folders are nested deeper than \(limits.depth)"))
            return
        }
        guard let names = try? FileManager.default.contentsOfDirectory(atPath: real) else {
            problems.append(SourceProblem(path, "the folder can't be read: \(String(cString: strerror(errno)))"))
            return
        }
        var ignores = ignores
        if names.contains(".plumbignore") {
            let ignore = real + "/.plumbignore"
            if Self.kind(of: ignore, followingLinks: false) == .file, let bytes = Self.contents(of: ignore, limit: 1 << 20) {
                ignores.append((relative, PathPatterns(lines: String(decoding: bytes, as: UTF8.self).split(separator: "\n"))))
            } else {
                problems.append(SourceProblem(path + "/.plumbignore", "can't be read", fix: "It has to be a plain file of at most 1 MiB."))
            }
        }
        for name in names.sorted(by: { Array($0.utf8).lexicographicallyPrecedes(Array($1.utf8)) }) where !name.hasPrefix(".") {
            let child = relative.isEmpty ? name : "\(relative)/\(name)"
            let shown = path.hasSuffix("/") ? path + name : "\(path)/\(name)"
            visit(path: shown, relative: child, entry: "\(real)/\(name)", ignores: ignores, depth: depth)
            if isOverLimit { return }
        }
    }

    private mutating func visit(path: String, relative: String, entry: String, ignores: [(base: String, PathPatterns)], depth: Int) {
        let isSpec = relative.hasSuffix(".yaml") || relative.hasSuffix(".yml")
        let isLink =
            Self.kind(of: entry, followingLinks: false) == .other
            && (try? FileManager.default.destinationOfSymbolicLink(atPath: entry)) != nil
        let kind = Self.kind(of: entry)
        if Self.isIgnored(relative, isFolder: kind == .folder, ignores) { return }
        var real = entry
        if isLink {
            guard isSpec || kind == .folder else { return }
            guard let resolved = Self.resolve(entry) else {
                problems.append(SourceProblem(path, "is a link to nothing", fix: "Mend the link, or list it in .plumbignore."))
                return
            }
            guard resolved == realRoot || resolved.hasPrefix(realRoot + "/") else {
                problems.append(
                    SourceProblem(
                        path,
                        "is a link that leaves the source (to \(resolved))",
                        fix: "Put the file itself there: specs must be all in one place."
                    )
                )
                return
            }
            real = resolved
        }
        switch kind {
        case .folder: readFolder(path: path, relative: relative, real: real, ignores: ignores, depth: depth + 1)
        case .file where isSpec: readFile(path: path, relative: relative, real: real)
        case .other where isSpec: problems.append(SourceProblem(path, "is no plain file"))
        case .file, .other, nil: break
        }
    }

    private mutating func readFile(path: String, relative: String, real: String) {
        guard let bytes = Self.contents(of: real, limit: limits.fileBytes) else {
            problems.append(SourceProblem(path, "can't be read, or has more than \(limits.fileBytes) bytes"))
            return
        }
        total += bytes.count
        guard total <= limits.totalBytes, files.count < limits.files else {
            // One word on it is enough, and reading on would be what the limit is there to prevent.
            if isOverLimit { return }
            isOverLimit = true
            let limit = "\(limits.files) files or \(limits.totalBytes) bytes"
            problems.append(SourceProblem(path, "the source has more than \(limit); nothing of it is read"))
            return
        }
        files.append(SourceFile(path: path, relativePath: relative, bytes: bytes))
    }

    private static func isIgnored(_ relative: String, isFolder: Bool, _ ignores: [(base: String, PathPatterns)]) -> Bool {
        // The deepest file that has an opinion decides.
        for (base, patterns) in ignores.reversed() {
            let path = base.isEmpty ? relative : String(relative.dropFirst(base.count + 1))
            if let decision = patterns.decision(for: path, isFolder: isFolder) { return decision }
        }
        return false
    }

    private enum Kind { case file, folder, other }

    private static func kind(of path: String, followingLinks: Bool = true) -> Kind? {
        var info = stat()
        guard (followingLinks ? stat(path, &info) : lstat(path, &info)) == 0 else { return nil }
        switch info.st_mode & S_IFMT {
        case S_IFREG: return .file
        case S_IFDIR: return .folder
        default: return .other
        }
    }

    private static func resolve(_ path: String) -> String? {
        guard let resolved = realpath(path, nil) else { return nil }
        defer { free(resolved) }
        return String(cString: resolved)
    }

    /// The bytes of a plain file; nil where it is none (any more), can't be read, or has more bytes than `limit`.
    private static func contents(of path: String, limit: Int) -> [UInt8]? {
        // A link in the last place would have been put there after we looked; a FIFO must not make us wait.
        let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        var info = stat()
        guard fstat(descriptor, &info) == 0, info.st_mode & S_IFMT == S_IFREG, Int(info.st_size) <= limit else { return nil }
        var bytes: [UInt8] = []
        bytes.reserveCapacity(Int(info.st_size) + 1)
        var buffer = Array(repeating: UInt8(0), count: 65_536)
        while true {
            let count = Glibc.read(descriptor, &buffer, buffer.count)
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else { return nil }
            if count == 0 { return bytes }
            bytes += buffer[..<count]
            if bytes.count > limit { return nil }
        }
    }
}
