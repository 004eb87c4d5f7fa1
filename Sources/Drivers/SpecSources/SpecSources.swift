import Crypto
import Foundation
import PathPatterns

/// One file of specs, as it was read.
package struct SourceFile: Hashable, Sendable {
    /// As the person who named the source would type it: `state/hosts.yaml`.
    package var path: String
    /// Relative to the source, for path patterns: `hosts.yaml`.
    package var relativePath: String
    package var bytes: [UInt8]

    package init(path: String, relativePath: String, bytes: [UInt8]) {
        self.path = path
        self.relativePath = relativePath
        self.bytes = bytes
    }
}

/// Why a source, or a part of it, is not read. One is enough to apply nothing of it.
package struct SourceProblem: Error, Hashable, Sendable, Codable {
    package var path: String
    package var message: String
    package var fix: String
    /// What of the source is not there at all; nil: something else is wrong. Who follows a source may mean it to become empty.
    package var absence: Absence?

    package enum Absence: String, Hashable, Sendable, Codable {
        /// The source is there and holds no specs.
        case specs
        /// There is no such file or folder. In a repository a folder goes with its last file.
        case source
    }

    package init(_ path: String, _ message: String, fix: String = "", absence: Absence? = nil) {
        self.path = path
        self.message = message
        self.fix = fix
        self.absence = absence
    }
}

/// How much a source may hold. Each is far above what people write and far below what hurts.
package struct SourceLimits: Hashable, Sendable, Codable {
    /// Of one file, in bytes.
    package var fileBytes = 4 * 1024 * 1024
    /// Of all files together, in bytes.
    package var totalBytes = 64 * 1024 * 1024
    package var files = 20_000
    package var depth = 32
    /// Names looked at, specs or not: folders can hold one another more often than anybody would wait for.
    package var entries = 500_000
    /// Of one path, in bytes.
    package var pathBytes = 4096

    package init() {}
}

/// Reads a folder of specs, or one file.
///
/// `*.yaml` and `*.yml`, recursively, in the byte order of their paths. Hidden names are skipped, and what `.plumbignore` matches (gitignore's
/// syntax, in any folder). Links are followed where they stay inside the source; one that leaves it is a problem, never skipped and never read.
package func readSource(_ path: String, limits: SourceLimits = SourceLimits()) -> (files: [SourceFile], problems: [SourceProblem]) {
    readSource(path, in: FileSystem(), limits: limits)
}

/// The same, wherever the specs lie.
///
/// - Parameter path: In the storage; empty: all of it.
package func readSource(
    _ path: String,
    in storage: some SourceStorage,
    limits: SourceLimits = SourceLimits()
) -> (files: [SourceFile], problems: [SourceProblem]) {
    var reader = SourceReader(root: path, storage: storage, limits: limits)
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

private struct SourceReader<Storage: SourceStorage> {
    let root: String
    let storage: Storage
    let limits: SourceLimits
    var files: [SourceFile] = []
    var problems: [SourceProblem] = []
    private var total = 0
    private var entries = 0
    private var isOverLimit = false
    /// The source with all links resolved, to tell what leaves it.
    private var realRoot = ""
    private var visited: Set<String> = []

    init(root: String, storage: Storage, limits: SourceLimits) {
        self.root = root
        self.storage = storage
        self.limits = limits
    }

    mutating func read() {
        guard case .found(let real) = storage.resolve(root) else {
            let fix = "Give the folder that holds the specs, or one YAML file."
            problems.append(SourceProblem(root, "no such file or folder", fix: fix, absence: .source))
            return
        }
        realRoot = real
        switch storage.kind(of: real) {
        case .folder: readFolder(path: root, relative: "", real: real, ignores: [], depth: 0)
        case .file: readFile(path: root, relative: (real as NSString).lastPathComponent, real: real)
        case .other(let reason): problems.append(SourceProblem(root, reason ?? "is neither a file nor a folder"))
        case .link, nil: problems.append(SourceProblem(root, "is neither a file nor a folder"))
        }
        if files.isEmpty, problems.isEmpty {
            let fix = "Specs are *.yaml and *.yml files that are not hidden or ignored."
            problems.append(SourceProblem(root, "holds no specs", fix: fix, absence: .specs))
        }
    }

    private mutating func readFolder(path: String, relative: String, real: String, ignores: [(base: String, PathPatterns)], depth: Int) {
        guard visited.insert(real).inserted else { return }
        guard depth <= limits.depth else {
            problems.append(SourceProblem(path, "folders are nested deeper than \(limits.depth)"))
            return
        }
        let names: [String]
        do throws(SourceUnreadable) {
            names = try storage.names(in: real)
        } catch {
            problems.append(SourceProblem(path, error.reason))
            return
        }
        var ignores = ignores
        if names.contains(".plumbignore") {
            let ignore = Self.join(real, ".plumbignore")
            if storage.kind(of: ignore) == .file, let bytes = storage.contents(of: ignore, limit: 1 << 20) {
                ignores.append((relative, PathPatterns(lines: String(decoding: bytes, as: UTF8.self).split(separator: "\n"))))
            } else {
                problems.append(SourceProblem(Self.join(path, ".plumbignore"), "can't be read", fix: "It has to be a plain file of at most 1 MiB."))
            }
        }
        for name in names.sorted(by: { Array($0.utf8).lexicographicallyPrecedes(Array($1.utf8)) }) where !name.hasPrefix(".") {
            entries += 1
            guard entries <= limits.entries else { return stop(at: path, "the source has more than \(limits.entries) names") }
            let shown = path.hasSuffix("/") ? path + name : Self.join(path, name)
            guard shown.utf8.count <= limits.pathBytes, !name.contains("/") else {
                problems.append(SourceProblem(path, "holds a name that can't be a file's, or makes a path longer than \(limits.pathBytes) bytes"))
                continue
            }
            visit(path: shown, relative: Self.join(relative, name), entry: Self.join(real, name), ignores: ignores, depth: depth)
            if isOverLimit { return }
        }
    }

    private mutating func visit(path: String, relative: String, entry: String, ignores: [(base: String, PathPatterns)], depth: Int) {
        let isSpec = relative.hasSuffix(".yaml") || relative.hasSuffix(".yml")
        var real = entry
        var kind = storage.kind(of: entry)
        let isLink = kind == .link
        let resolution = isLink ? storage.resolve(entry) : nil
        if isLink {
            if case .found(let place) = resolution { real = place }
            kind = real == entry ? nil : storage.kind(of: real)
        }
        if Self.isIgnored(relative, isFolder: kind == .folder, ignores) { return }
        if isLink {
            switch resolution {
            case nil:
                guard isSpec else { return }
                problems.append(SourceProblem(path, "is a link to nothing", fix: "Mend the link, or list it in .plumbignore."))
                return
            case .outside(let place):
                return refuseLink(path, to: place)
            case .found(let place):
                guard isSpec || kind == .folder else { return }
                guard isInside(place) else { return refuseLink(path, to: place) }
            }
        }
        switch kind {
        case .folder: readFolder(path: path, relative: relative, real: real, ignores: ignores, depth: depth + 1)
        case .file where isSpec: readFile(path: path, relative: relative, real: real)
        case .other(let reason?): problems.append(SourceProblem(path, reason, fix: "If no specs are meant, list it in .plumbignore."))
        case .other(nil) where isSpec: problems.append(SourceProblem(path, "is no plain file"))
        case .file, .link, .other, nil: break
        }
    }

    private func isInside(_ place: String) -> Bool {
        realRoot.isEmpty || realRoot == "/" || place == realRoot || place.hasPrefix(realRoot + "/")
    }

    private mutating func refuseLink(_ path: String, to place: String) {
        problems.append(
            SourceProblem(
                path,
                "is a link that leaves the source (to \(place))",
                fix: "Put the file itself there: specs must be all in one place."
            )
        )
    }

    private mutating func readFile(path: String, relative: String, real: String) {
        guard let bytes = storage.contents(of: real, limit: limits.fileBytes) else {
            problems.append(SourceProblem(path, "can't be read, or has more than \(limits.fileBytes) bytes"))
            return
        }
        if bytes.starts(with: "version https://git-lfs.github.com/spec/".utf8) {
            problems.append(
                SourceProblem(
                    path,
                    "is a Git LFS pointer: the file itself is not in git",
                    fix: "Take specs out of LFS (git lfs untrack, then add them again): they are text and small."
                )
            )
            return
        }
        total += bytes.count
        guard total <= limits.totalBytes, files.count < limits.files else {
            return stop(at: path, "the source has more than \(limits.files) files or \(limits.totalBytes) bytes")
        }
        files.append(SourceFile(path: path, relativePath: relative, bytes: bytes))
    }

    /// One word on a limit is enough, and reading on would be what it is there to prevent.
    private mutating func stop(at path: String, _ reason: String) {
        if isOverLimit { return }
        isOverLimit = true
        problems.append(SourceProblem(path, "\(reason); nothing of it is read"))
    }

    private static func join(_ folder: String, _ name: String) -> String { folder.isEmpty ? name : "\(folder)/\(name)" }

    private static func isIgnored(_ relative: String, isFolder: Bool, _ ignores: [(base: String, PathPatterns)]) -> Bool {
        // The deepest file that has an opinion decides.
        for (base, patterns) in ignores.reversed() {
            let path = base.isEmpty ? relative : String(relative.dropFirst(base.count + 1))
            if let decision = patterns.decision(for: path, isFolder: isFolder) { return decision }
        }
        return false
    }
}
