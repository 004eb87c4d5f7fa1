internal import CLibGit2
internal import Foundation
internal import SSH

/// Lets a thread of ours wait for what happens on the event loops; never call it on one of those, nor in a task.
func waitFor<Value: Sendable>(_ operation: @escaping @Sendable () async -> Value) -> Value {
    let box = Handover<Value>()
    Task { box.put(await operation()) }
    return box.take()
}

private final class Handover<Value: Sendable> {
    private let condition = NSCondition()
    private var value: Value?

    func put(_ value: Value) {
        condition.lock()
        self.value = value
        condition.signal()
        condition.unlock()
    }

    func take() -> Value {
        condition.lock()
        defer { condition.unlock() }
        while true {
            if let value { return value }
            condition.wait()
        }
    }
}

// All of it is behind its condition's lock.
extension Handover: @unchecked Sendable {}

/// `git-upload-pack` on the other side of our own SSH, so that known hosts, keys, the agent and jump hosts are the same as for hosts.
final class SSHTraffic: TrafficStream {
    /// What has come and was not read yet. Past `most` the other side is made to wait.
    private final class Inbox: @unchecked Sendable {
        // All of it is behind its condition's lock.
        private let condition = NSCondition()
        private var parts: [[UInt8]] = []
        private var offset = 0
        private var waiting = 0
        private var isPaused = false
        private var ending: ChannelEvent?
        private var complaint: [UInt8] = []
        private static let most = 4 << 20

        /// - Returns: whether the other side has to wait.
        func put(_ event: ChannelEvent) -> Bool {
            condition.lock()
            defer {
                condition.signal()
                condition.unlock()
            }
            switch event {
            case .output(let bytes):
                parts.append(bytes)
                waiting += bytes.count
                guard waiting > Self.most, !isPaused else { return false }
                isPaused = true
                return true
            case .errorOutput(let bytes): complaint += bytes.prefix(4096 - min(4096, complaint.count))
            case .refused, .ended, .lost, .late: if ending == nil { ending = event }
            }
            return false
        }

        /// Waits for something to read.
        ///
        /// - Returns: how many bytes were put there, 0 at the end; and whether the other side may go on.
        func take(_ buffer: UnsafeMutableRawBufferPointer) -> (count: Int, mayResume: Bool) {
            condition.lock()
            defer { condition.unlock() }
            while parts.isEmpty, ending == nil { condition.wait() }
            guard let first = parts.first else { return (0, false) }
            let part = first[offset...].prefix(buffer.count)
            buffer.copyBytes(from: part)
            offset += part.count
            waiting -= part.count
            if offset == first.count {
                parts.removeFirst()
                offset = 0
            }
            guard isPaused, waiting < Self.most / 2 else { return (part.count, false) }
            isPaused = false
            return (part.count, true)
        }

        var end: (event: ChannelEvent?, complaint: String) {
            condition.lock()
            defer { condition.unlock() }
            return (ending, String(decoding: complaint, as: UTF8.self).quotable(limit: 400))
        }
    }

    private let inbox: Inbox
    private let client: SSHClient
    private let session: SSHSession
    private let stream: SSHSession.Stream
    private let url: GitURL
    private let fail: (GitFailure) -> Void
    private var hasRead = false

    /// Logs in and starts the server's side.
    static func open(
        _ url: GitURL,
        _ request: ReadRequest,
        askPassphrase: @escaping @Sendable (String) -> String?,
        fail: @escaping (GitFailure) -> Void
    ) -> SSHTraffic? {
        var options = SSHOptions()
        options.identityFile = request.ssh.identityFile
        options.knownHostsFile = request.ssh.knownHostsFile
        options.configFile = request.ssh.configFile
        options.cacheDirectory = request.ssh.cacheDirectory
        options.connectTimeout = min(.seconds(15), .seconds(request.timeout))
        if request.mayAsk { options.askPassphrase = askPassphrase }
        let inbox = Inbox()
        let client = SSHClient(options)
        let login = SSHLogin(name: url.host, address: url.host, port: url.port, user: url.user)
        // As git writes it: the path is one word, whatever is in it.
        let word = url.path.replacing("'", with: "'\\''").replacing("!", with: "'\\!'")
        let result: Result<(SSHSession, SSHSession.Stream), SSHFailure> = waitFor {
            do throws(SSHFailure) {
                let connection = try await client.connect(login)
                let pausing = Pausing()
                let stream = try await connection.session.openStream("git-upload-pack '\(word)'", within: .seconds(15)) { event in
                    if inbox.put(event) { pausing.pause() }
                }
                pausing.begin(stream)
                return .success((connection.session, stream))
            } catch {
                return .failure(error)
            }
        }
        switch result {
        case .success(let (session, stream)):
            return SSHTraffic(inbox: inbox, client: client, session: session, stream: stream, url: url, fail: fail)
        case .failure(let failure):
            let cause: GitFailure.Cause =
                switch failure.cause {
                case .unreachable: .unreachable
                case .denied: .denied
                case .unknown: .invalid
                }
            fail(GitFailure(cause, failure.message))
            return nil
        }
    }

    /// Holds the stream for the time between its first bytes and its return.
    private final class Pausing: @unchecked Sendable {
        // All of it is behind its lock.
        private let lock = NSLock()
        private var stream: SSHSession.Stream?
        private var isDue = false

        func begin(_ stream: SSHSession.Stream) {
            lock.lock()
            defer { lock.unlock() }
            self.stream = stream
            if isDue { stream.pause() }
        }

        func pause() {
            lock.lock()
            defer { lock.unlock() }
            isDue = stream == nil
            stream?.pause()
        }
    }

    private init(
        inbox: Inbox,
        client: SSHClient,
        session: SSHSession,
        stream: SSHSession.Stream,
        url: GitURL,
        fail: @escaping (GitFailure) -> Void
    ) {
        self.inbox = inbox
        self.client = client
        self.session = session
        self.stream = stream
        self.url = url
        self.fail = fail
    }

    override func read(_ buffer: UnsafeMutablePointer<CChar>, _ size: Int) -> Int {
        let (count, mayResume) = inbox.take(UnsafeMutableRawBufferPointer(start: buffer, count: size))
        if mayResume { stream.resume() }
        if count > 0 {
            hasRead = true
            return count
        }
        let (event, complaint) = inbox.end
        switch event {
        case .ended(status: 0?, _)?: return 0
        case .lost(let failure)?: fail(GitFailure(.unreachable, failure.message))
        case .refused(let reason)?: fail(GitFailure(.denied, "\(session.place) does not let us run git-upload-pack: \(reason.quotable())"))
        case .ended(let status, let signal)?:
            let how = complaint.isEmpty ? "it ended with \(status.map(String.init) ?? "signal \(signal ?? "?")")" : complaint
            if hasRead {
                fail(GitFailure(.unreachable, "\(url.shown): git-upload-pack on the server gave up: \(how)"))
            } else {
                fail(
                    GitFailure(
                        .denied,
                        "\(url.shown): the server does not give that repository to us: \(how)",
                        fix: "Is the path right, is git installed there, and may this login read it?"
                    )
                )
            }
        case .output, .errorOutput, .late, nil: return 0
        }
        git_error_set_str(Int32(GIT_ERROR_SSH.rawValue), "the server's side ended")
        return -1
    }

    override func write(_ buffer: UnsafePointer<CChar>, _ size: Int) -> Int32 {
        stream.send(Array(UnsafeRawBufferPointer(start: buffer, count: size)))
        return 0
    }

    override func end() {
        let (client, session) = (client, session)
        waitFor {
            await session.close()
            await client.close()
        }
    }
}
