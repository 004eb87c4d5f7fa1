import Glibc

/// Where a Unix socket is put: bound under another name and moved into place once its rights are right, so that nobody connects before that, and what a
/// dead daemon left is replaced in one step.
struct SocketPlace: Sendable {
    /// What the kernel takes, less one for the other name.
    private static let longestPath = 106

    let path: String
    private let group: gid_t?

    var temporary: String { path + "~" }

    /// - Throws: where a live daemon is there, or something that is no socket.
    init(_ path: String, group: String?) throws(ListeningFailure) {
        self.path = path
        guard path.utf8.count <= Self.longestPath, path.hasPrefix("/") else {
            throw ListeningFailure(
                message: "the control socket can't be at \(path): its path must begin with / and have at most \(Self.longestPath) bytes",
                fix: "Set 'socket.path' to a shorter one, such as /run/plumb/\(ControlSocket.fileName)."
            )
        }
        if let group {
            guard let entry = getgrnam(group) else {
                throw ListeningFailure(message: "there is no group '\(group)'", fix: "Make it, or correct 'socket.group'.")
            }
            self.group = entry.pointee.gr_gid
        } else {
            self.group = nil
        }
        var status = stat()
        guard lstat(path, &status) == 0 else { return }
        guard status.st_mode & S_IFMT == S_IFSOCK else {
            throw ListeningFailure(message: "\(path) is there and no socket", fix: "Move it away, or set 'socket.path'.")
        }
        let descriptor = ControlClient.connect(to: path)
        guard descriptor >= 0 else { return }
        defer { close(descriptor) }
        let process = ControlClient.process(behind: descriptor).map { " (process \($0))" } ?? ""
        throw ListeningFailure(message: "another plumb serves \(path)\(process)", fix: "Stop it, or give this one its own 'dataDirectory'.")
    }

    /// Sets the rights and moves it into place.
    func settle() throws(ListeningFailure) {
        var failed = chmod(temporary, group == nil ? 0o600 : 0o660) != 0
        if let group, !failed { failed = chown(temporary, uid_t.max, group) != 0 }
        if !failed { failed = rename(temporary, path) != 0 }
        guard failed else { return }
        let why = words(of: errno)
        unlink(temporary)
        throw ListeningFailure(
            message: "the control socket \(path) can't be given its rights: \(why)",
            fix: "The user that runs plumb must own the folder and be in the group of 'socket.group'."
        )
    }

    /// Takes the file away, unless another daemon has put its own there.
    func remove() {
        let descriptor = ControlClient.connect(to: path)
        if descriptor >= 0 { close(descriptor) } else { unlink(path) }
    }
}
