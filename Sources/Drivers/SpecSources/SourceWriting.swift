import Foundation
import Glibc

/// Puts other bytes into files of a source: into all of them or into none.
///
/// Each is written beside its file and moved there, so that a reader finds one or the other whole; mode and owner stay, and so does a link that
/// leads to the file.
/// - Parameter changes: Of each file the bytes that were read from it and those to put there.
/// - Throws: where a file has other bytes by now, or can't be written. Then all files are as they were.
package func rewriteSource(_ changes: [(path: String, before: [UInt8], after: [UInt8])]) throws(SourceProblem) {
    var drafts: [Draft] = []
    defer { for draft in drafts { unlink(draft.name) } }
    for change in changes { drafts.append(try Draft(of: change.path, before: change.before, after: change.after)) }
    for draft in drafts { try draft.checkUnchanged() }
    var moved: [Draft] = []
    for draft in drafts {
        do throws(SourceProblem) {
            // Again, right before: between looking and moving nothing else is done.
            try draft.checkUnchanged()
            try draft.move()
            moved.append(draft)
        } catch {
            for draft in moved.reversed() {
                guard let back = try? Draft(of: draft.path, before: draft.after, after: draft.before) else { continue }
                if (try? back.move()) == nil { unlink(back.name) }
            }
            throw error
        }
    }
}

/// A file's new bytes, beside it under a hidden name that is no spec's.
private struct Draft {
    let path: String
    let before: [UInt8]
    let after: [UInt8]
    let name: String
    private let real: String

    init(of path: String, before: [UInt8], after: [UInt8]) throws(SourceProblem) {
        self.path = path
        self.before = before
        self.after = after
        guard case .found(let real)? = FileSystem().resolve(path) else { throw SourceProblem(path, "is not there any more", fix: Self.again) }
        self.real = real
        let folder = (real as NSString).deletingLastPathComponent
        name = "\(folder)/.\((real as NSString).lastPathComponent).\(getpid()).plumb"
        try write()
    }

    private static let again = "Nothing was written. Say it once more: what the file holds now is looked at then."

    private func failure(_ number: Int32) -> SourceProblem {
        SourceProblem(
            path,
            "can't be written: \(String(cString: strerror(number)))",
            fix: "Nothing was written. The folder it is in has to be writable."
        )
    }

    private func write() throws(SourceProblem) {
        var info = stat()
        guard stat(real, &info) == 0 else { throw failure(errno) }
        unlink(name)
        let descriptor = open(name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw failure(errno) }
        do throws(SourceProblem) {
            try fill(descriptor, like: info)
            close(descriptor)
        } catch {
            close(descriptor)
            unlink(name)
            throw error
        }
    }

    private func fill(_ descriptor: Int32, like info: stat) throws(SourceProblem) {
        var rest = after[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { throw failure(errno) }
            rest = rest.dropFirst(count)
        }
        var own = stat()
        guard fstat(descriptor, &own) == 0 else { throw failure(errno) }
        if own.st_uid != info.st_uid || own.st_gid != info.st_gid, fchown(descriptor, info.st_uid, info.st_gid) != 0 {
            throw SourceProblem(path, "belongs to somebody else", fix: "Nothing was written. Its owner has to do it, or take the patch.")
        }
        // After the owner: a change of that takes bits away.
        guard fchmod(descriptor, info.st_mode & 0o7777) == 0, fsync(descriptor) == 0 else { throw failure(errno) }
    }

    func checkUnchanged() throws(SourceProblem) {
        guard FileSystem().contents(of: real, limit: before.count) == before else {
            throw SourceProblem(path, "was changed since it was read", fix: Self.again)
        }
    }

    func move() throws(SourceProblem) {
        guard rename(name, real) == 0 else { throw failure(errno) }
        let folder = open((real as NSString).deletingLastPathComponent, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard folder >= 0 else { return }
        fsync(folder)
        close(folder)
    }
}
