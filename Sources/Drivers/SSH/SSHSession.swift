internal import CLibSSH2
internal import NIOCore

#if canImport(Glibc)
internal import Glibc
#elseif canImport(Musl)
internal import Musl
#endif

/// One SSH connection: a libssh2 session that is fed from a transport. It runs on its transport's event loop, which is the actor's executor, so
/// that libssh2 is never called from two threads and no thread waits.
///
/// Whatever arrives or is asked for ends in `pump`, which carries libssh2 as far as it goes. Of the calls that must be repeated until they
/// are through, one at a time is under way.
package actor SSHSession {
    nonisolated let eventLoop: any EventLoop
    package nonisolated var unownedExecutor: UnownedSerialExecutor { eventLoop.executor.asUnownedSerialExecutor() }

    /// `pi-1 (10.0.0.1:22)`, for messages.
    package nonisolated let place: String

    /// How far the connection is, for the message when its time is over.
    enum Phase {
        case connecting
        case greeting
        case keyExchange
        case authentication(user: String)
        case agent(String)
        case open
    }
    var phase = Phase.connecting

    /// Where bytes go. Both closures are called on the event loop.
    struct Transport {
        var write: (ByteBuffer) -> Void
        var close: () -> Void
    }

    private struct Operation {
        var attempt: (OpaquePointer) -> Int32
        var finish: (Result<Int32, SSHFailure>) -> Void
    }

    let buffers = SessionBuffers()
    private var session: OpaquePointer?
    private var transport: Transport?
    private var operations: [Operation] = []
    var channels: [Int: Channel] = [:]
    private var lastChannel = 0
    /// Set once, when the session is over.
    private(set) var failure: SSHFailure?
    private var deadline: Scheduled<Void>?
    private var isPumping = false
    private var needsPump = false
    /// Signs with the ssh-agent while `authenticate` waits.
    var signer: (([UInt8]) -> Void)?
    /// Called once when the session is over.
    private var atEnd: [(SSHFailure) -> Void] = []
    package private(set) var hostKey: PublicKey?
    private(set) var hostKeyAlgorithms: [String] = []

    init(place: String, eventLoop: any EventLoop) {
        self.place = place
        self.eventLoop = eventLoop
    }

    isolated deinit {
        // Only where nobody closed the session.
        free()
    }

    // MARK: Transport

    func attach(_ transport: Transport) throws(SSHFailure) {
        if let failure {
            transport.close()
            throw failure
        }
        self.transport = transport
        phase = .greeting
    }

    func received(_ bytes: ByteBuffer) {
        guard failure == nil else { return }
        buffers.receive(bytes)
    }

    /// All that has arrived so far was handed in.
    func receivedAll() { pump() }

    /// The other side has closed, or the network broke. What arrived before is still read.
    func transportEnded(_ reason: String?) {
        guard failure == nil else { return }
        buffers.isClosed = true
        pump()
        fail(lostFailure(reason))
    }

    func whenOver(_ action: @escaping (SSHFailure) -> Void) {
        if let failure { action(failure) } else { atEnd.append(action) }
    }

    // MARK: Life

    /// Ends the session with `failure()` unless `stopDeadline` comes first.
    func startDeadline(_ limit: Duration) {
        deadline?.cancel()
        deadline = eventLoop.scheduleTask(in: TimeAmount(limit)) { [weak self] in
            self?.assumeIsolated { session in session.fail(session.lateFailure(after: limit)) }
        }
    }

    func stopDeadline() {
        deadline?.cancel()
        deadline = nil
    }

    /// Says goodbye and closes, without waiting for the other side.
    package func close() {
        if let session, failure == nil, case .open = phase {
            _ = libssh2_session_disconnect_ex(session, SSH_DISCONNECT_BY_APPLICATION, "done", "")
            flush()
        }
        fail(.lost("the connection to \(place) was closed by us"))
    }

    package var isOpen: Bool { failure == nil }

    /// Ends everything that waits for this session; the first reason counts.
    func fail(_ reason: SSHFailure) {
        guard failure == nil else { return }
        failure = reason
        stopDeadline()
        buffers.isClosed = true
        let waiting = operations
        operations = []
        let open = channels.values
        channels = [:]
        free()
        transport?.close()
        transport = nil
        signer = nil
        for operation in waiting { operation.finish(.failure(reason)) }
        for channel in open { channel.deliver(.lost(reason)) }
        let actions = atEnd
        atEnd = []
        for action in actions { action(reason) }
    }

    private func free() {
        guard let session else { return }
        self.session = nil
        buffers.isClosed = true
        // It may say "again" while it closes channels; with a closed transport that ends soon.
        for _ in 0..<64 {
            if libssh2_session_free(session) != LIBSSH2_ERROR_EAGAIN { break }
        }
    }

    // MARK: libssh2

    /// Makes the libssh2 session and tells it what we agree to.
    func prepare(hostKeys: [String]) throws(SSHFailure) {
        guard SSHLibrary.isReady, let session = buffers.makeSession() else { throw SSHFailure(.unknown, "libssh2 can't be started: out of memory") }
        self.session = session
        hostKeyAlgorithms = hostKeys
        let preferences = [
            (LIBSSH2_METHOD_KEX, Algorithms.keyExchange), (LIBSSH2_METHOD_HOSTKEY, hostKeys), (LIBSSH2_METHOD_CRYPT_CS, Algorithms.ciphers),
            (LIBSSH2_METHOD_CRYPT_SC, Algorithms.ciphers), (LIBSSH2_METHOD_MAC_CS, Algorithms.authentication),
            (LIBSSH2_METHOD_MAC_SC, Algorithms.authentication),
        ]
        for (method, names) in preferences where libssh2_session_method_pref(session, method, names.joined(separator: ",")) != 0 {
            throw SSHFailure(.unknown, "libssh2 \(SSHLibrary.version) has none of \(names.joined(separator: ", ")); a newer version does")
        }
    }

    /// libssh2 wants a file descriptor that it can call `fcntl` on; bytes go through the callbacks.
    private static let placeholder: Int32 = open("/dev/null", O_RDWR | O_CLOEXEC)

    func handshake() async throws(SSHFailure) {
        let descriptor = Self.placeholder
        let status = try await perform { libssh2_session_handshake($0, descriptor) }
        guard status == 0 else { throw handshakeFailure(status) }
        buffers.forgetOpening()
    }

    /// What the host proved to have in the key exchange.
    func readHostKey() throws(SSHFailure) -> PublicKey {
        var length = 0
        var type: Int32 = 0
        guard let session, let bytes = libssh2_session_hostkey(session, &length, &type) else {
            throw failure ?? SSHFailure(.unknown, "\(place) showed no host key")
        }
        let blob = UnsafeRawBufferPointer(start: bytes, count: length)
        guard let key = PublicKey(blob: Array(blob)) else { throw SSHFailure(.unknown, "\(place) showed a host key that can't be read") }
        hostKey = key
        return key
    }

    /// Repeats a call until libssh2 no longer says "again"; what it says then is the result.
    func perform(_ attempt: @escaping (OpaquePointer) -> Int32) async throws(SSHFailure) -> Int32 {
        let result = await withCheckedContinuation { (continuation: CheckedContinuation<Result<Int32, SSHFailure>, Never>) in
            start(attempt) { continuation.resume(returning: $0) }
        }
        return try result.get()
    }

    func start(_ attempt: @escaping (OpaquePointer) -> Int32, finish: @escaping (Result<Int32, SSHFailure>) -> Void) {
        if let failure { return finish(.failure(failure)) }
        operations.append(Operation(attempt: attempt, finish: finish))
        pump()
    }

    /// libssh2's words for its last error.
    func lastError() -> String {
        guard let session else { return "" }
        var message: UnsafeMutablePointer<CChar>?
        libssh2_session_last_error(session, &message, nil, 0)
        return message.map { String(cString: $0) } ?? ""
    }

    func withSession<T>(_ body: (OpaquePointer) -> T) throws(SSHFailure) -> T {
        guard let session else { throw failure ?? SSHFailure(.unknown, "\(place): there is no session yet") }
        return body(session)
    }

    /// Carries everything as far as it goes with the bytes that are there.
    func pump() {
        // What is called from here may ask for more.
        if isPumping {
            needsPump = true
            return
        }
        isPumping = true
        defer { isPumping = false }
        repeat {
            needsPump = false
            while let operation = operations.first, let session {
                let status = operation.attempt(session)
                if status == LIBSSH2_ERROR_EAGAIN { break }
                operations.removeFirst()
                operation.finish(.success(status))
            }
            if case .wanted(let data) = buffers.signing, let signer {
                buffers.signing = .underWay
                signer(data)
            }
            for (id, channel) in channels where failure == nil { drive(channel, id) }
            guard failure == nil else { return }
            flush()
        } while needsPump
        checkOpening()
    }

    private func flush() {
        if let bytes = buffers.takeOutbound() { transport?.write(bytes) }
    }

    /// A server that greets and greets is stopped here: libssh2 skips lines before the version without end.
    private func checkOpening() {
        guard case .greeting = phase, !buffers.opening.isEmpty else { return }
        if buffers.greeting != nil {
            phase = .keyExchange
        } else if buffers.bytesReceived >= SessionBuffers.openingLimit {
            fail(
                SSHFailure(
                    .unknown,
                    "\(place) sent \(buffers.bytesReceived) bytes that are no SSH greeting ('\(buffers.openingWords)'); is sshd on that port?"
                )
            )
        }
    }

    func register(_ channel: Channel) -> Int {
        lastChannel += 1
        channels[lastChannel] = channel
        return lastChannel
    }
}

extension TimeAmount {
    init(_ duration: Duration) {
        let (seconds, attoseconds) = duration.components
        self = .nanoseconds(seconds.multipliedReportingOverflow(by: 1_000_000_000).partialValue + attoseconds / 1_000_000_000)
    }
}
