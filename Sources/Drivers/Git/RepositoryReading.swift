internal import Foundation
internal import Glibc
internal import SSH
internal import SpecSources

/// One read of a repository, inside the process that was made for it.
final class RepositoryReading {
    private let request: ReadRequest
    private let url: GitURL
    private let askPassphrase: @Sendable (String) -> String?
    private let report: (String) -> Void

    init(
        _ request: ReadRequest,
        askPassphrase: @escaping @Sendable (String) -> String?,
        report: @escaping (String) -> Void
    ) throws(GitFailure) {
        self.request = request
        url = try GitURL(request.url)
        self.askPassphrase = askPassphrase
        self.report = report
    }

    enum Result {
        case unchanged(commit: String)
        case read(GitTree)
    }

    func run() throws(GitFailure) -> Result {
        do throws(Stop) {
            try LibGit2.prepare(request.limits, authorityFile: request.authorityFile)
            if url.scheme == .file { return try readInPlace() }
            return try readThroughCache()
        } catch {
            throw error.failure(of: url)
        }
    }

    /// A repository on this machine is read where it is: nothing is copied.
    private func readInPlace() throws(Stop) -> Result {
        let repository: Repository
        do throws(Stop) {
            repository = try Repository.open(url.path)
        } catch {
            guard case .library(_, _, let message) = error else { throw error }
            let fix = "file:// takes a bare repository or the top of a checkout that this user can read."
            throw .failure(GitFailure(.invalid, "\(url.shown) can't be opened as a repository: \(message.quotable())", fix: fix))
        }
        let limit = request.limits.references
        let choice: Advertisement.Choice
        let names = request.revision.map { $0.hasPrefix("refs/") ? [$0] : ["refs/heads/\($0)", "refs/tags/\($0)"] } ?? []
        let named = try repository.references(named: names, limit: limit)
        if let found = try? named.choose(request.revision) {
            choice = found
        } else {
            // Once more with all of them, for what a person is told.
            choice = try Self.choose(request.revision, in: try repository.references(limit: limit), of: url)
        }
        return try finish(repository, choice)
    }

    private func readThroughCache() throws(Stop) -> Result {
        report("waiting for another read of \(url.place) to end")
        let cache = try RepositoryCache(request.cache, limits: request.limits)
        if needsHistory, try cache.repository.isShallow { try cache.reset() }
        do throws(Stop) {
            if let result = try read(cache) { return result }
        } catch {
            // What was kept may be broken; a second failure is about something else.
            guard !cache.isFresh, error.mayBeDamage else { throw error }
        }
        // Only here, where nobody has the old one open any more: libgit2 remembers packs by their paths.
        try cache.reset()
        guard let result = try read(cache) else { throw .failure(GitFailure(.unreachable, "\(url.shown): the server sent something else")) }
        return result
    }

    private var needsHistory: Bool { request.last != nil || request.expecting != nil || request.into != nil }

    /// - Returns: nil: what is kept has too little history to go on from; rather once more from the start than a history with holes.
    private func read(_ cache: RepositoryCache) throws(Stop) -> Result? {
        let hasOther = try request.into.map { other throws(Stop) in try cache.repository.has(other) } ?? true
        if let commit = request.revision, Advertisement.isCommit(commit), hasOther, try cache.repository.has(commit) {
            // It can't have become another one.
            return try finish(try cache.repository, Advertisement.Choice(reference: nil, object: commit, commit: commit))
        }
        let connection = RemoteConnection(try cache.repository, url, request, askPassphrase: askPassphrase, report: report)
        let advertised = try connection.references()
        let choice = try Self.choose(request.revision, in: advertised, of: url)
        if let known = request.known, choice.commit == known { return .unchanged(commit: known) }
        if try !cache.repository.has(choice.object) {
            let kept = try cache.repository
            if !cache.isFresh, kept.isShallow { return nil }
            if let reference = choice.reference {
                try connection.fetch([reference], isShallow: cache.isFresh && !needsHistory)
            } else if let name = advertised.references.first(where: { $0.value.object == choice.object })?.key {
                try connection.fetch([name], isShallow: false)
            } else {
                try connection.fetch(["refs/heads/*", "refs/tags/*"], isShallow: false)
            }
            guard try cache.repository.has(choice.object) else {
                guard choice.reference == nil else { throw .failure(GitFailure(.unreachable, "\(url.shown): the server sent something else")) }
                throw .failure(
                    GitFailure(
                        .absent,
                        "\(url.shown) has no commit \(choice.object) in its branches and tags",
                        fix: "Was it pushed, and has no branch been reset since? A tag keeps a commit reachable."
                    )
                )
            }
        }
        if let other = request.into, try !cache.repository.has(other) {
            // What is in force need not be where a branch ends: what came after it may be refused, or not be read yet.
            let name = advertised.references.first(where: { $0.value.object == other })?.key
            try connection.fetch(name.map { [$0] } ?? ["refs/heads/*", "refs/tags/*"], isShallow: false)
        }
        return try finish(try cache.repository, choice)
    }

    private static func choose(_ revision: String?, in advertised: Advertisement, of url: GitURL) throws(Stop) -> Advertisement.Choice {
        do throws(GitFailure) {
            return try advertised.choose(revision)
        } catch {
            var failure = error
            failure.message = "\(url.shown): \(failure.message)"
            throw .failure(failure)
        }
    }

    /// Everything that is asked for is here now.
    private func finish(_ repository: Repository, _ choice: Advertisement.Choice) throws(Stop) -> Result {
        guard repository.has(choice.object) else {
            throw .failure(GitFailure(.absent, "\(url.shown) has no commit \(choice.object)", fix: "Give all 40 digits of one that was pushed."))
        }
        try repository.checkSize(of: choice.object, limit: request.limits.objectBytes)
        guard let commit = try repository.commit(of: choice.object) else {
            throw .failure(GitFailure(.invalid, "\(url.shown): '\(request.revision ?? choice.object)' is neither a commit nor a tag of one"))
        }
        try repository.checkSize(of: commit, limit: request.limits.objectBytes)
        if commit == request.known { return .unchanged(commit: commit) }
        if let expected = request.expecting, try !repository.descends(commit, from: expected) { return .unchanged(commit: commit) }
        var notes: [String] = []
        if let file = request.allowedSigners { notes.append(try repository.verify(choice, commit: commit, signers: file, of: url)) }
        if let last = request.last, let reference = choice.reference, try !repository.descends(commit, from: last) {
            let name = reference.split(separator: "/").dropFirst(2).joined(separator: "/")
            let words = "\(last.prefix(12)) is no longer in \(name.isEmpty ? reference : name); \(commit.prefix(12)) is"
            if request.allowedSigners != nil {
                throw .failure(
                    GitFailure(
                        .refused,
                        "\(url.shown) was force-pushed: \(words). With signatures asked for, nothing goes back to what was replaced before",
                        fix: "Push a commit that has \(last.prefix(12)) in its history, or accept this one by hand: --revision \(commit)."
                    )
                )
            }
            notes.append("force-pushed: \(words)")
        }
        report("reading the specs")
        let tree = try CommitTree(repository, commit: commit, limits: request.limits)
        var (files, problems) = readSource(request.path, in: tree, limits: request.limits.specs)
        if let damage = tree.damage { throw damage }
        var join: GitJoin?
        if let base = request.into, problems.isEmpty {
            let joined = try Joining(repository, request).join(files, of: commit, into: base)
            (files, join) = (joined.files, joined.join)
        }
        return .read(GitTree(commit: commit, ref: choice.reference, files: files, problems: problems, notes: notes, join: join))
    }
}

/// The bare repository that fetches go into. While it is open, no other process of ours uses it.
final class RepositoryCache {
    private let path: String
    private let limits: GitLimits
    private let lock: Int32
    private var opened: Repository?
    /// Nothing was in it before this read.
    private(set) var isFresh = false

    private static let mostPacks = 64

    /// Waits until nobody else uses it.
    init(_ path: String, limits: GitLimits) throws(Stop) {
        self.path = path
        self.limits = limits
        lock = open(path + ".lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard lock >= 0 else { throw Self.failure(path) }
        while flock(lock, LOCK_EX) != 0 {
            guard errno == EINTR else { throw Self.failure(path) }
        }
        sweep()
    }

    deinit { close(lock) }

    private static func failure(_ path: String) -> Stop {
        let reason = String(cString: strerror(errno))
        return .failure(GitFailure(.unreachable, "\(path) can't be used for what is fetched: \(reason)", fix: "Give another --data-dir."))
    }

    var repository: Repository {
        get throws(Stop) {
            if let opened { return opened }
            if let found = try? Repository.open(path) {
                opened = found
                return found
            }
            try? FileManager.default.removeItem(atPath: path)
            isFresh = true
            let made = try Repository.create(path)
            opened = made
            return made
        }
    }

    /// Throws away what is there.
    func reset() throws(Stop) {
        opened = nil
        try? FileManager.default.removeItem(atPath: path)
        _ = try repository
    }

    /// Removes what a killed read has left, and everything once it is many packs or large: fetched anew it is one, and small.
    private func sweep() {
        let folder = "\(path)/objects/pack"
        guard let names = try? FileManager.default.contentsOfDirectory(atPath: folder) else { return }
        var packs = 0
        var bytes = 0
        for name in names {
            guard name.hasPrefix("pack-") else {
                unlink("\(folder)/\(name)")
                continue
            }
            if name.hasSuffix(".pack") { packs += 1 }
            var info = stat()
            if lstat("\(folder)/\(name)", &info) == 0 { bytes += Int(info.st_size) }
        }
        if packs > Self.mostPacks || bytes > 2 * limits.packBytes { try? FileManager.default.removeItem(atPath: path) }
    }
}
