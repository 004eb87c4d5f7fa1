#if canImport(Glibc)
internal import Glibc
#elseif canImport(Musl)
internal import Musl
#endif

/// The few files of this machine that SSH needs: small, read whole.
enum LocalFiles {
    enum Problem: Error, Hashable {
        case missing
        case failed(String)
    }

    struct Content {
        var bytes: [UInt8]
        var isOurs: Bool
        var mode: UInt32
    }

    static func read(_ path: String, limit: Int = 16 << 20) throws(Problem) -> Content {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard descriptor >= 0 else {
            if errno == ENOENT || errno == ENOTDIR { throw .missing }
            throw .failed(String(cString: strerror(errno)).lowercased())
        }
        defer { close(descriptor) }
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { throw .failed(String(cString: strerror(errno)).lowercased()) }
        guard status.st_mode & S_IFMT == S_IFREG || status.st_mode & S_IFMT == S_IFIFO else { throw .failed("not a file") }
        var bytes: [UInt8] = []
        while true {
            var count = 0
            let part = [UInt8](unsafeUninitializedCapacity: 64 * 1024) { buffer, initialized in
                count = Glibc.read(descriptor, buffer.baseAddress, buffer.count)
                initialized = max(0, count)
            }
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else { throw .failed(String(cString: strerror(errno)).lowercased()) }
            if count == 0 { break }
            bytes += part
            guard bytes.count <= limit else { throw .failed("larger than \(limit >> 20) MiB") }
        }
        return Content(bytes: bytes, isOurs: status.st_uid == getuid(), mode: status.st_mode & 0o7777)
    }

    static func exists(_ path: String) -> Bool { access(path, F_OK) == 0 }

    /// Where `~` is, as OpenSSH sees it: by the password database, not by HOME.
    static let home: String = {
        if let entry = getpwuid(getuid()), let folder = entry.pointee.pw_dir { return String(cString: folder) }
        return getenv("HOME").map { String(cString: $0) } ?? "/"
    }()

    static let user: String = {
        if let entry = getpwuid(getuid()), let name = entry.pointee.pw_name { return String(cString: name) }
        return getenv("USER").map { String(cString: $0) } ?? "root"
    }()

    static func expanded(_ path: String) -> String {
        if path == "~" { return home }
        return path.hasPrefix("~/") ? home + path.dropFirst() : path
    }

    static func environment(_ name: String) -> String? { getenv(name).map { String(cString: $0) } }
}
