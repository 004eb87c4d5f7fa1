import Foundation
import Glibc

/// Where Plumb keeps what it records: a directory that only its owner can look into.
package struct DataDirectory: Hashable, Sendable {
    package let path: String

    /// A directory as it is, or as it may not be yet; nothing is made or changed.
    package init(existing path: String) { self.path = path }

    /// Makes the directory where it is missing, and keeps others out of it.
    ///
    /// Missing parents are made as well, all with mode 0700. A directory that is there already is closed to others only where it holds
    /// nothing but what Plumb keeps: a slip such as `--data-dir /srv` must not lock anybody out of theirs.
    ///
    /// - Throws: where nothing can be kept there, with the reason.
    package init(creating path: String) throws(StoreFailure) {
        self.path = path
        try Self.makeFolders(path)
        var info = stat()
        guard stat(path, &info) == 0 else { throw Self.failure("the data directory \(path) can't be read", errno) }
        guard info.st_mode & S_IFMT == S_IFDIR else {
            throw StoreFailure("the data directory \(path) is no directory", fix: Self.otherPlace)
        }
        guard access(path, R_OK | W_OK | X_OK) == 0 else {
            let cause = errno
            let owner = info.st_uid == geteuid() || cause == EROFS ? "" : " (it belongs to \(userName(of: info.st_uid)))"
            throw Self.failure("the data directory \(path) can't be written\(owner)", cause)
        }
        if info.st_mode & 0o077 != 0 { try keepOthersOut(of: info) }
    }

    private static let otherPlace = "Give a directory that can be written with --data-dir, or mend this one."

    private static func failure(_ what: String, _ cause: Int32) -> StoreFailure {
        StoreFailure("\(what): \(reason(cause))", fix: otherPlace)
    }

    private static func makeFolders(_ path: String) throws(StoreFailure) {
        var prefix = path.hasPrefix("/") ? "/" : ""
        for name in path.split(separator: "/") {
            let parent = prefix.isEmpty ? "." : prefix
            prefix += prefix.isEmpty || prefix.hasSuffix("/") ? String(name) : "/\(name)"
            if mkdir(prefix, 0o700) == 0 {
                giveToOwner(of: parent, prefix)
                continue
            }
            let cause = errno
            if cause != EEXIST, access(prefix, F_OK) != 0 { throw failure("the data directory \(path) can't be made", cause) }
        }
    }

    /// What root makes in the place of somebody else (`sudo plumb apply` with the person's own HOME) must not shut the person out later.
    private static func giveToOwner(of place: String, _ path: String) {
        var info = stat()
        guard geteuid() == 0, stat(place, &info) == 0, info.st_uid != 0 else { return }
        _ = lchown(path, info.st_uid, info.st_gid)
    }

    private func keepOthersOut(of info: stat) throws(StoreFailure) {
        let isOurs = info.st_uid == geteuid() || geteuid() == 0
        if isOurs, holdsOnlyOurs() {
            _ = chmod(path, 0o700)
        } else if info.st_mode & 0o022 != 0 {
            throw StoreFailure(
                "others can write to the data directory \(path), and with it change what Plumb records",
                fix: "Give a directory of its own with --data-dir, or run chmod go-w on this one."
            )
        }
    }

    private func holdsOnlyOurs() -> Bool {
        guard let folder = opendir(path) else { return false }
        defer { closedir(folder) }
        while let entry = readdir(folder) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) { pointer in
                pointer.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            let isKnown = name.hasPrefix("journal.sqlite") || name.hasPrefix("apply.lock") || name == "ssh-config"
            guard isKnown || name == "." || name == ".." else { return false }
        }
        return true
    }

    /// Whether it may be on a file system that other machines see as well: there a lock can outlive its holder.
    package var mayBeShared: Bool {
        guard let real = realpath(path, nil) else { return false }
        defer { free(real) }
        let place = String(cString: real)
        var longest = -1
        var type: Substring = ""
        // proc(5): the mount point is the fifth field, the type of the file system follows " - ".
        for line in ((try? String(contentsOfFile: "/proc/self/mountinfo", encoding: .utf8)) ?? "").split(separator: "\n") {
            let fields = line.split(separator: " ")
            guard let dash = fields.firstIndex(of: "-"), dash > 4, fields.count > dash + 1 else { continue }
            let mount = fields[4].replacing("\\040", with: " ")
            guard mount == "/" || place == mount || place.hasPrefix("\(mount)/"), mount.utf8.count >= longest else { continue }
            longest = mount.utf8.count
            type = fields[dash + 1]
        }
        return ["nfs", "cifs", "smb", "fuse", "9p", "ceph", "afs", "gfs", "ocfs", "lustre", "glusterfs", "virtiofs", "beegfs"]
            .contains { type.hasPrefix($0) }
    }

    /// Opens a file of ours, made with mode 0600 where it is missing. A link in its place is refused.
    ///
    /// - Returns: the descriptor; the caller closes it.
    func openFile(_ name: String) throws(StoreFailure) -> Int32 {
        let file = "\(path)/\(name)"
        let descriptor = open(file, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0o600)
        guard descriptor >= 0 else { throw Self.failure("\(file) can't be opened", errno) }
        var info = stat()
        guard fstat(descriptor, &info) == 0, info.st_mode & S_IFMT == S_IFREG else {
            close(descriptor)
            throw StoreFailure("\(file) is no plain file", fix: "Move it away; Plumb makes its own.")
        }
        if info.st_mode & 0o077 != 0 { _ = fchmod(descriptor, 0o600) }
        if info.st_uid == 0 { Self.giveToOwner(of: path, file) }
        return descriptor
    }
}

/// What the system says of an error number.
func reason(_ code: Int32) -> String { String(cString: strerror(code)) }

/// The login name, or the number where there is none.
func userName(of id: uid_t) -> String {
    guard let entry = getpwuid(id) else { return "user \(id)" }
    return String(cString: entry.pointee.pw_name)
}
