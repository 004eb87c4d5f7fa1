import Glibc
package import Values

/// Asks the daemon. Blocking, for commands that do nothing else.
package enum ControlClient {
    /// Of all answers to one request together.
    private static let largestAnswer = 64 << 20

    /// The last answer to a request.
    ///
    /// - Parameters:
    ///   - timeout: for everything.
    ///   - onReply: told each answer as it comes.
    /// - Throws: also where the answer is that it can't be done.
    package static func send(
        _ request: ControlRequest,
        to path: String,
        timeout: Duration,
        onReply: (Value) -> Void = { _ in }
    ) throws(ControlFailure) -> Value {
        let deadline = ContinuousClock.now + timeout
        let descriptor = connect(to: path)
        guard descriptor >= 0 else { throw notReached(path, errno) }
        defer { close(descriptor) }
        try write(Array(request.line.utf8), to: descriptor, deadline)
        var line: [UInt8] = []
        var total = 0
        var last: Value?
        while let chunk = try read(descriptor, deadline) {
            total += chunk.count
            guard total <= largestAnswer else { throw ControlFailure("the daemon's answer has no end") }
            var rest = chunk[...]
            while let end = rest.firstIndex(of: UInt8(ascii: "\n")) {
                line += rest[..<end]
                rest = rest[(end + 1)...]
                guard let value = try? Value(json: line) else { throw ControlFailure("what answers on \(path) is no plumb") }
                line = []
                if let failure = ControlFailure(value) { throw failure }
                onReply(value)
                last = value
            }
            line += rest
        }
        guard let last else { throw ControlFailure("the daemon ended the connection without an answer", fix: "Its log says why.") }
        return last
    }

    private static func notReached(_ path: String, _ code: Int32) -> ControlFailure {
        switch code {
        case ENOENT: ControlFailure("no daemon: there is no \(path)", fix: "Start 'plumb run', or give the socket it uses.")
        case ECONNREFUSED: ControlFailure("no daemon: nobody listens on \(path)", fix: "Start 'plumb run'.")
        case EACCES: ControlFailure("\(path) is not for this user", fix: "Use sudo, or join the group of 'socket.group'.")
        case EAGAIN: ControlFailure("the daemon behind \(path) takes no connection", fix: "It is stuck or flooded; its log says more.")
        default: ControlFailure("can't connect to \(path): \(words(of: code))")
        }
    }

    /// - Returns: a non-blocking descriptor; below zero: `errno` says why.
    static func connect(to path: String) -> Int32 {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        let bytes = Array(path.utf8)
        guard bytes.count < MemoryLayout.size(ofValue: address.sun_path) else {
            errno = ENAMETOOLONG
            return -1
        }
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: bytes) }
        let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue), 0)
        guard descriptor >= 0 else { return -1 }
        let size = socklen_t(MemoryLayout<sockaddr_un>.size)
        let result = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { Glibc.connect(descriptor, $0, size) }
        }
        guard result == 0 else {
            let code = errno
            close(descriptor)
            errno = code
            return -1
        }
        return descriptor
    }

    /// Who listens at the other end.
    static func process(behind descriptor: Int32) -> Int32? {
        var credentials = PeerCredentials()
        var size = socklen_t(MemoryLayout<PeerCredentials>.size)
        guard getsockopt(descriptor, SOL_SOCKET, SO_PEERCRED, &credentials, &size) == 0, credentials.process > 0 else { return nil }
        return credentials.process
    }

    private static func write(_ bytes: [UInt8], to descriptor: Int32, _ deadline: ContinuousClock.Instant) throws(ControlFailure) {
        var rest = bytes[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { Glibc.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
            if count > 0 {
                rest = rest.dropFirst(count)
            } else if errno == EAGAIN || errno == EINTR {
                try wait(for: Int16(POLLOUT), descriptor, deadline)
            } else {
                // It may have said why before it closed: that is read next.
                return
            }
        }
    }

    /// nil at the end.
    private static func read(_ descriptor: Int32, _ deadline: ContinuousClock.Instant) throws(ControlFailure) -> [UInt8]? {
        var buffer = [UInt8](repeating: 0, count: 64 << 10)
        while true {
            let count = Glibc.recv(descriptor, &buffer, buffer.count, 0)
            if count > 0 { return Array(buffer[..<count]) }
            if count == 0 { return nil }
            switch errno {
            case EAGAIN, EINTR: try wait(for: Int16(POLLIN), descriptor, deadline)
            case ECONNRESET: return nil
            default: throw ControlFailure("the connection to the daemon broke: \(words(of: errno))")
            }
        }
    }

    private static func wait(for events: Int16, _ descriptor: Int32, _ deadline: ContinuousClock.Instant) throws(ControlFailure) {
        let left = ContinuousClock.now.duration(to: deadline)
        guard left > .zero else { throw ControlFailure("the daemon did not answer in time") }
        let milliseconds = min(left.components.seconds * 1000 + left.components.attoseconds / 1_000_000_000_000_000 + 1, 60_000)
        var entry = pollfd(fd: descriptor, events: events, revents: 0)
        _ = poll(&entry, 1, Int32(milliseconds))
    }
}
