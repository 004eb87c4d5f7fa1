import Foundation
import Glibc

/// What lies at a place.
package enum SourceEntryKind: Hashable, Sendable {
    case file
    case folder
    case link
    /// Neither; with the reason why it can't hold specs where that has to be said even of names that are no specs'.
    case other(String?)
}

/// Where a path leads when its links are followed.
package enum SourceResolution: Hashable, Sendable {
    case found(String)
    /// Out of all that is stored there, to this place.
    case outside(String)
}

/// Why a folder can't be read; a clause that follows its name.
package struct SourceUnreadable: Error, Sendable {
    package var reason: String

    package init(_ reason: String) { self.reason = reason }
}

/// Where specs lie: the file system of this machine, or the tree of a commit. Paths are the storage's own.
package protocol SourceStorage {
    /// The same place without links on the way; nil where nothing is.
    func resolve(_ path: String) -> SourceResolution?
    /// A link is not followed.
    func kind(of path: String) -> SourceEntryKind?
    func names(in folder: String) throws(SourceUnreadable) -> [String]
    /// The bytes of a plain file; nil where it is none, can't be read, or has more bytes than `limit`.
    func contents(of path: String, limit: Int) -> [UInt8]?
}

struct FileSystem: SourceStorage {
    func resolve(_ path: String) -> SourceResolution? {
        guard let resolved = realpath(path, nil) else { return nil }
        defer { free(resolved) }
        return .found(String(cString: resolved))
    }

    func kind(of path: String) -> SourceEntryKind? {
        var info = stat()
        guard lstat(path, &info) == 0 else { return nil }
        switch info.st_mode & S_IFMT {
        case S_IFREG: return .file
        case S_IFDIR: return .folder
        case S_IFLNK: return .link
        default: return .other(nil)
        }
    }

    func names(in folder: String) throws(SourceUnreadable) -> [String] {
        guard let names = try? FileManager.default.contentsOfDirectory(atPath: folder) else {
            throw SourceUnreadable("the folder can't be read: \(String(cString: strerror(errno)))")
        }
        return names
    }

    func contents(of path: String, limit: Int) -> [UInt8]? {
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
