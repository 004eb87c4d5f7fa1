internal import CLibGit2
internal import SSH

/// Why reading stops.
enum Stop: Error {
    /// What a person is told.
    case failure(GitFailure)
    /// What libgit2 says.
    case library(code: Int32, kind: UInt32, message: String)

    /// libgit2's last error; call it right after a call has failed.
    static func library(_ code: Int32) -> Stop {
        guard let error = git_error_last() else { return .library(code: code, kind: 0, message: "error \(code) of libgit2") }
        let message = error.pointee.message.map { String(cString: $0) } ?? ""
        return .library(code: code, kind: UInt32(bitPattern: error.pointee.klass), message: message)
    }

    /// Whether it is about a repository's contents, and not about the way to them.
    var isAboutObjects: Bool {
        guard case .library(_, let kind, _) = self else { return false }
        return ![GIT_ERROR_OS, GIT_ERROR_NET, GIT_ERROR_SSL, GIT_ERROR_HTTP, GIT_ERROR_SSH, GIT_ERROR_CALLBACK].contains { $0.rawValue == kind }
    }

    /// Whether what is kept on this machine may be the reason, so that fetching it anew helps.
    var mayBeDamage: Bool {
        guard case .library(let code, let kind, _) = self else { return false }
        if [GIT_ENOTFOUND.rawValue, GIT_EMISMATCH.rawValue, GIT_ELOCKED.rawValue].contains(code) { return true }
        let kinds = [
            GIT_ERROR_OS, GIT_ERROR_INVALID, GIT_ERROR_REFERENCE, GIT_ERROR_ZLIB, GIT_ERROR_REPOSITORY, GIT_ERROR_CONFIG, GIT_ERROR_ODB,
            GIT_ERROR_OBJECT, GIT_ERROR_TREE, GIT_ERROR_TAG, GIT_ERROR_INDEXER, GIT_ERROR_FILESYSTEM, GIT_ERROR_SHA, GIT_ERROR_INTERNAL,
        ]
        return kinds.contains { $0.rawValue == kind }
    }

    /// - Parameter url: for the words.
    func failure(of url: GitURL) -> GitFailure {
        switch self {
        case .failure(let failure): return failure
        case .library(let code, let kind, let message):
            let words = message.quotable(limit: 400)
            switch git_error_t(kind) {
            case GIT_ERROR_SSL where code == GIT_ECERTIFICATE.rawValue || words.contains("certificate"):
                return GitFailure(
                    .denied,
                    "\(url.place) showed a certificate that is not trusted (\(words))",
                    fix: "If it is from an authority of your own, name that: --git-ca-file FILE."
                )
            case GIT_ERROR_HTTP where words.contains("404") || words.contains("403"):
                return GitFailure(
                    .denied,
                    "\(url.shown): the server says that there is no such repository, or not for this login (\(words))",
                    fix: "Servers say so of private repositories, too: look at the URL and at what the token may read."
                )
            case GIT_ERROR_NET, GIT_ERROR_SSL, GIT_ERROR_HTTP, GIT_ERROR_OS, GIT_ERROR_SSH:
                if code == GIT_EAUTH.rawValue || words.contains("401") || words.contains("authentication") {
                    return GitFailure(.denied, "\(url.place) does not let us in (\(words))", fix: Self.loginHelp)
                }
                if words.contains("redirect") {
                    return GitFailure(
                        .denied,
                        "\(url.shown): the server sends us elsewhere (\(words)), where neither login nor trust would be the same",
                        fix: "Give the URL that it leads to; curl -I shows it."
                    )
                }
                return GitFailure(.unreachable, "\(url.shown) could not be read: \(words)")
            case GIT_ERROR_NOMEMORY:
                return GitFailure(.refused, "\(url.shown): reading it takes more memory than it may", fix: "Is it as small as specs are?")
            default:
                if words.contains("exceeds the maximum") || words.contains("too large") || words.contains("too many objects") {
                    return GitFailure(.refused, "\(url.shown) holds more than is taken: \(words)")
                }
                return GitFailure(.invalid, "\(url.shown) can't be read: \(words)")
            }
        }
    }

    static let loginHelp = "Give --git-token-file FILE, an entry for that host in ~/.netrc, or set up a git credential helper."
}

func check(_ status: Int32) throws(Stop) {
    if status < 0 { throw Stop.library(status) }
}

/// libgit2 as a whole.
enum LibGit2 {
    /// libgit2 initializes libssh2 as well, and neither may do so twice at once: libssh2 comes first, once.
    private static let isReady: Bool = SSHLibrary.isReady && git_libgit2_init() > 0

    /// Once in a process, before anything else.
    static func prepare(_ limits: GitLimits, authorityFile: String?) throws(Stop) {
        guard isReady else { throw Stop.failure(GitFailure(.invalid, "libgit2 can't be started")) }
        // No file of this machine says where a URL leads: neither url.insteadOf nor http.followRedirects.
        for level in [GIT_CONFIG_LEVEL_SYSTEM, GIT_CONFIG_LEVEL_XDG, GIT_CONFIG_LEVEL_GLOBAL, GIT_CONFIG_LEVEL_PROGRAMDATA] {
            try check(plumb_git_set_search_path(level.rawValue, ""))
        }
        // Whose a repository is matters to programs that run what it configures. Nothing is run here.
        try check(plumb_git_set_owner_validation(0))
        try check(plumb_git_set_pack_limits(limits.objects, min(limits.packBytes, 256 << 20)))
        if let authorityFile, plumb_git_set_certificates(authorityFile) < 0 {
            let message = git_error_last().flatMap { $0.pointee.message.map { String(cString: $0) } } ?? ""
            throw Stop.failure(
                GitFailure(
                    .invalid,
                    "\(authorityFile) can't be taken for certificates (\(message.quotable()))",
                    fix: "--git-ca-file takes a readable file with one or more certificates in PEM."
                )
            )
        }
    }
}

/// A repository on this machine.
final class Repository {
    let pointer: OpaquePointer

    private init(_ pointer: OpaquePointer) { self.pointer = pointer }

    deinit { git_repository_free(pointer) }

    /// - Parameter path: A bare repository, or the top of a checkout.
    static func open(_ path: String) throws(Stop) -> Repository {
        var pointer: OpaquePointer?
        try check(git_repository_open_ext(&pointer, path, GIT_REPOSITORY_OPEN_NO_SEARCH.rawValue, nil))
        guard let pointer else { throw Stop.library(-1) }
        return Repository(pointer)
    }

    static func create(_ path: String) throws(Stop) -> Repository {
        var pointer: OpaquePointer?
        try check(git_repository_init(&pointer, path, 1))
        guard let pointer else { throw Stop.library(-1) }
        return Repository(pointer)
    }

    var isShallow: Bool { git_repository_is_shallow(pointer) == 1 }

    private func objects() throws(Stop) -> OpaquePointer {
        var objects: OpaquePointer?
        try check(git_repository_odb(&objects, pointer))
        guard let objects else { throw Stop.library(-1) }
        return objects
    }

    func has(_ object: String) -> Bool {
        guard var id = git_oid(hexadecimal: object), let objects = try? objects() else { return false }
        defer { git_odb_free(objects) }
        return git_odb_exists(objects, &id) == 1
    }

    /// An object as git keeps it.
    func read(_ object: String) throws(Stop) -> (kind: git_object_t, bytes: [UInt8]) {
        guard var id = git_oid(hexadecimal: object) else { throw Stop.library(-1) }
        let objects = try objects()
        defer { git_odb_free(objects) }
        var found: OpaquePointer?
        try check(git_odb_read(&found, objects, &id))
        defer { git_odb_object_free(found) }
        let bytes = UnsafeRawBufferPointer(start: git_odb_object_data(found), count: git_odb_object_size(found))
        return (git_odb_object_type(found), Array(bytes))
    }

    /// Refuses to read what is larger than commits, tags and folders are.
    func checkSize(of object: String, limit: Int) throws(Stop) {
        guard let size = size(of: object) else { throw Stop.library(GIT_ENOTFOUND.rawValue) }
        guard size > limit else { return }
        throw Stop.failure(
            GitFailure(.refused, "the object \(object) has \(size) bytes, more than the \(limit) that are read of a commit, a tag or a folder")
        )
    }

    /// The size of an object, without reading it.
    func size(of object: String) -> Int? {
        guard var id = git_oid(hexadecimal: object), let objects = try? objects() else { return nil }
        defer { git_odb_free(objects) }
        var size = 0
        var kind = GIT_OBJECT_INVALID
        guard git_odb_read_header(&size, &kind, objects, &id) == 0 else { return nil }
        return size
    }

    /// The commit that an object is, or that a tag is of; nil where it is of something else.
    func commit(of object: String) throws(Stop) -> String? {
        guard var id = git_oid(hexadecimal: object) else { throw Stop.library(-1) }
        var found: OpaquePointer?
        try check(git_object_lookup(&found, pointer, &id, GIT_OBJECT_ANY))
        defer { git_object_free(found) }
        var commit: OpaquePointer?
        let status = git_object_peel(&commit, found, GIT_OBJECT_COMMIT)
        if status == GIT_EPEEL.rawValue || status == GIT_EINVALIDSPEC.rawValue || status == GIT_EAMBIGUOUS.rawValue { return nil }
        try check(status)
        defer { git_object_free(commit) }
        return git_object_id(commit).map { $0.pointee.hexadecimal }
    }

    /// Whether a commit has another one in its history, or is it.
    func descends(_ commit: String, from ancestor: String) throws(Stop) -> Bool {
        if commit == ancestor { return true }
        guard has(ancestor), var id = git_oid(hexadecimal: commit), var other = git_oid(hexadecimal: ancestor) else { return false }
        let status = git_graph_descendant_of(pointer, &id, &other)
        try check(status)
        return status == 1
    }

    /// What the repository itself has, as a remote would advertise it.
    ///
    /// - Parameter names: Only these; nil: all, up to `limit`.
    func references(named names: [String]? = nil, limit: Int) throws(Stop) -> Advertisement {
        var found = Advertisement()
        var head: OpaquePointer?
        if git_reference_lookup(&head, pointer, "HEAD") == 0 {
            if let target = git_reference_symbolic_target(head) { found.headReference = String(cString: target) }
            git_reference_free(head)
        }
        if let names {
            for name in names + [found.headReference, "HEAD"].compactMap(\.self) {
                var id = git_oid()
                let status = git_reference_name_to_id(&id, pointer, name)
                if status == GIT_ENOTFOUND.rawValue || status == GIT_EINVALIDSPEC.rawValue { continue }
                try check(status)
                found.add(name, id.hexadecimal)
                if name.hasPrefix("refs/tags/"), let commit = try? commit(of: id.hexadecimal) { found.add("\(name)^{}", commit) }
            }
            return found
        }
        var iterator: OpaquePointer?
        try check(git_reference_iterator_new(&iterator, pointer))
        defer { git_reference_iterator_free(iterator) }
        var name: UnsafePointer<CChar>?
        while found.references.count < limit, git_reference_next_name(&name, iterator) == 0, let name {
            var id = git_oid()
            if git_reference_name_to_id(&id, pointer, name) == 0 { found.add(String(cString: name), id.hexadecimal) }
        }
        return found
    }
}

extension git_oid {
    init?(hexadecimal text: String) {
        self.init()
        guard text.utf8.count == 40, git_oid_fromstrn(&self, text, 40) == 0 else { return nil }
    }

    var hexadecimal: String {
        var id = self
        var buffer = [CChar](repeating: 0, count: 41)
        git_oid_tostr(&buffer, buffer.count, &id)
        return String(decoding: buffer.prefix(40).map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
}
