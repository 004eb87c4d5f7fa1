internal import CLibGit2
internal import Glibc
internal import SpecSources

/// What the specs of a commit would be once it is merged into another one. Only files of specs are merged, in memory: nothing is written, and what
/// a stranger's tree comes to is bounded as for any other.
struct Joining {
    private let repository: Repository
    private let request: ReadRequest

    init(_ repository: Repository, _ request: ReadRequest) {
        self.repository = repository
        self.request = request
    }

    /// - Parameter files: Those of `commit`.
    func join(_ files: [SourceFile], of commit: String, into base: String) throws(Stop) -> (files: [SourceFile], join: GitJoin) {
        if try repository.descends(commit, from: base) { return (files, .contained) }
        guard repository.has(base), let ancestor = try repository.mergeBase(commit, base), let old = try specs(of: ancestor),
            let theirs = try specs(of: base)
        else { return (files, .unrelated) }
        guard let merged = Self.merge(files, theirs, since: old), isWithinLimits(merged) else { return (files, .conflicting) }
        return (merged, .merged)
    }

    /// nil: they can't be read.
    private func specs(of commit: String) throws(Stop) -> [SourceFile]? {
        let tree = try CommitTree(repository, commit: commit, limits: request.limits)
        let (files, problems) = readSource(request.path, in: tree, limits: request.limits.specs)
        if let damage = tree.damage { throw damage }
        // Where there are none yet, there are none.
        return problems.allSatisfy { $0.absence != nil } ? files : nil
    }

    private func isWithinLimits(_ files: [SourceFile]) -> Bool {
        let limits = request.limits.specs
        return files.count <= limits.files && files.allSatisfy { $0.bytes.count <= limits.fileBytes }
            && files.reduce(0) { $0 + $1.bytes.count } <= limits.totalBytes
    }

    /// File by file; nil: both have changed the same lines, or one has removed what the other has changed.
    static func merge(_ ours: [SourceFile], _ theirs: [SourceFile], since old: [SourceFile]) -> [SourceFile]? {
        func byPath(_ files: [SourceFile]) -> [String: SourceFile] { Dictionary(files.map { ($0.path, $0) }) { first, _ in first } }
        let (mine, others, before) = (byPath(ours), byPath(theirs), byPath(old))
        var merged: [SourceFile] = []
        for path in Set(mine.keys).union(others.keys) {
            let (one, another, origin) = (mine[path], others[path], before[path])
            if one == another || another == origin {
                if let one { merged.append(one) }
            } else if one == origin {
                if let another { merged.append(another) }
            } else {
                guard var file = one, let another, let bytes = lines(file.bytes, another.bytes, since: origin?.bytes ?? []) else { return nil }
                file.bytes = bytes
                merged.append(file)
            }
        }
        merged.sort { Array($0.path.utf8).lexicographicallyPrecedes(Array($1.path.utf8)) }
        return merged
    }

    /// nil: a conflict.
    private static func lines(_ ours: [UInt8], _ theirs: [UInt8], since old: [UInt8]) -> [UInt8]? {
        func input(_ bytes: UnsafeBufferPointer<CChar>) -> git_merge_file_input {
            var input = git_merge_file_input()
            input.version = UInt32(GIT_MERGE_FILE_INPUT_VERSION)
            (input.ptr, input.size) = (bytes.baseAddress, bytes.count)
            return input
        }
        var result = git_merge_file_result()
        defer { git_merge_file_result_free(&result) }
        let status = old.withCharacters { old in
            ours.withCharacters { ours in
                theirs.withCharacters { theirs in
                    var (ancestor, one, another) = (input(old), input(ours), input(theirs))
                    return git_merge_file(&result, &ancestor, &one, &another, nil)
                }
            }
        }
        guard status == 0, result.automergeable == 1 else { return nil }
        return Array(UnsafeRawBufferPointer(start: result.ptr, count: result.len))
    }
}

extension [UInt8] {
    fileprivate func withCharacters<Result>(_ body: (UnsafeBufferPointer<CChar>) -> Result) -> Result {
        withUnsafeBytes { body($0.assumingMemoryBound(to: CChar.self)) }
    }
}

extension Repository {
    /// The commit that both have in their history; nil: there is none.
    func mergeBase(_ one: String, _ another: String) throws(Stop) -> String? {
        guard var first = git_oid(hexadecimal: one), var second = git_oid(hexadecimal: another) else { return nil }
        var found = git_oid()
        let status = git_merge_base(&found, pointer, &first, &second)
        if status == GIT_ENOTFOUND.rawValue { return nil }
        try check(status)
        return found.hexadecimal
    }
}
