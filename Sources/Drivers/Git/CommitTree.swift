internal import CLibGit2
internal import SpecSources

/// The tree of a commit, read where it lies: nothing is checked out. Paths have no slash at their ends; empty is the top.
final class CommitTree: SourceStorage {
    private struct Entry {
        var mode: UInt32
        var object: String
    }

    private let repository: Repository
    private let root: String
    private let limit: Int
    private var folders: [String: [String: Entry]] = [:]
    /// An object could not be read, so what was found is not all.
    private(set) var damage: Stop?

    init(_ repository: Repository, commit: String, limits: GitLimits) throws(Stop) {
        self.repository = repository
        limit = limits.objectBytes
        guard var id = git_oid(hexadecimal: commit) else { throw Stop.library(-1) }
        var found: OpaquePointer?
        try check(git_commit_lookup(&found, repository.pointer, &id))
        defer { git_commit_free(found) }
        guard let tree = git_commit_tree_id(found) else { throw Stop.library(-1) }
        root = tree.pointee.hexadecimal
    }

    private static func parts(_ path: String) -> [String] { path.split(separator: "/").map(String.init) }

    /// The names in a tree; nil where it can't be read.
    private func entries(of folder: String, _ object: String) -> [String: Entry]? {
        if let known = folders[folder] { return known }
        guard var id = git_oid(hexadecimal: object) else { return nil }
        do throws(Stop) {
            try repository.checkSize(of: object, limit: limit)
        } catch {
            if damage == nil { damage = error }
            return nil
        }
        var tree: OpaquePointer?
        let status = git_tree_lookup(&tree, repository.pointer, &id)
        guard status == 0 else {
            if damage == nil { damage = .library(status) }
            return nil
        }
        defer { git_tree_free(tree) }
        var entries: [String: Entry] = [:]
        for index in 0..<git_tree_entrycount(tree) {
            guard let entry = git_tree_entry_byindex(tree, index), let name = git_tree_entry_name(entry), let id = git_tree_entry_id(entry) else {
                continue
            }
            entries[String(cString: name)] = Entry(mode: git_tree_entry_filemode_raw(entry).rawValue, object: id.pointee.hexadecimal)
        }
        // Paths come in the order of folders, so what was left behind is not asked for again.
        if folders.count >= 1000 { folders = [:] }
        folders[folder] = entries
        return entries
    }

    private func entry(_ path: String) -> Entry? {
        var entry = Entry(mode: GIT_FILEMODE_TREE.rawValue, object: root)
        var folder = ""
        for part in Self.parts(path) {
            guard Self.kind(entry) == .folder, let next = entries(of: folder, entry.object)?[part] else { return nil }
            entry = next
            folder = folder.isEmpty ? part : "\(folder)/\(part)"
        }
        return entry
    }

    private static func kind(_ entry: Entry) -> SourceEntryKind {
        switch entry.mode & 0o170000 {
        case 0o040000: .folder
        case 0o100000: .file
        case 0o120000: .link
        case 0o160000: .other("is a submodule: what is in it belongs to another repository")
        default: .other(nil)
        }
    }

    func kind(of path: String) -> SourceEntryKind? { entry(path).map(Self.kind) }

    func resolve(_ path: String) -> SourceResolution? {
        var rest = Self.parts(path)[...]
        var done: [String] = []
        var links = 0
        while let part = rest.popFirst() {
            if part == "." { continue }
            if part == ".." {
                if done.popLast() == nil { return .outside((["/.."] + rest).joined(separator: "/")) }
                continue
            }
            done.append(part)
            let place = done.joined(separator: "/")
            guard let entry = entry(place) else { return nil }
            guard Self.kind(entry) == .link else { continue }
            links += 1
            guard links <= 40, let bytes = blob(entry, limit: 4096), !bytes.isEmpty else { return nil }
            let target = String(decoding: bytes, as: UTF8.self)
            if target.hasPrefix("/") { return .outside(target) }
            done.removeLast()
            rest = Self.parts(target) + rest
        }
        return .found(done.joined(separator: "/"))
    }

    func names(in folder: String) throws(SourceUnreadable) -> [String] {
        guard let entry = entry(folder), let entries = entries(of: folder, entry.object) else { throw SourceUnreadable("the folder can't be read") }
        return Array(entries.keys)
    }

    func contents(of path: String, limit: Int) -> [UInt8]? {
        guard let entry = entry(path), Self.kind(entry) == .file else { return nil }
        return blob(entry, limit: limit)
    }

    private func blob(_ entry: Entry, limit: Int) -> [UInt8]? {
        do throws(Stop) {
            guard let size = repository.size(of: entry.object) else { throw Stop.library(GIT_ENOTFOUND.rawValue) }
            guard size <= limit else { return nil }
            let (kind, bytes) = try repository.read(entry.object)
            return kind == GIT_OBJECT_BLOB && bytes.count <= limit ? bytes : nil
        } catch {
            if damage == nil { damage = error }
            return nil
        }
    }
}
