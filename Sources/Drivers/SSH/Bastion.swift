/// A jump host: connections to it that the sessions behind it share.
///
/// libssh2 opens one channel at a time on a connection, and a bastion answers only once it has reached the host or given up. So that a dead host does
/// not hold up the others, a connection that is at it for long gets company.
actor Bastion {
    private let connect: @Sendable () async throws(SSHFailure) -> SSHConnection
    private var lines: [SSHConnection] = []
    private var busy: Set<ObjectIdentifier> = []
    private var isConnecting = false
    private var waiting: [(number: Int, continuation: CheckedContinuation<Result<SSHConnection, SSHFailure>, Never>)] = []
    private var lastWaiter = 0
    private var isClosed = false

    private static let mostLines = 32
    private static let patience = Duration.milliseconds(300)

    init(connect: @escaping @Sendable () async throws(SSHFailure) -> SSHConnection) { self.connect = connect }

    /// A connection on which a channel may be opened; `release` follows once that is done.
    func acquire() async throws(SSHFailure) -> SSHConnection {
        if isClosed { throw SSHFailure(.unreachable, "the connections were closed") }
        await dropDead()
        if let line = lines.first(where: { !busy.contains(ObjectIdentifier($0.session)) }) {
            busy.insert(ObjectIdentifier(line.session))
            return line
        }
        lastWaiter += 1
        let number = lastWaiter
        if lines.isEmpty {
            add()
        } else {
            Task {
                try? await Task.sleep(for: Self.patience)
                if waiting.contains(where: { $0.number == number }) { add() }
            }
        }
        return try await withCheckedContinuation { waiting.append((number, $0)) }.get()
    }

    func release(_ line: SSHConnection) {
        busy.remove(ObjectIdentifier(line.session))
        handOut()
    }

    private func handOut() {
        while !waiting.isEmpty, let line = lines.first(where: { !busy.contains(ObjectIdentifier($0.session)) }) {
            busy.insert(ObjectIdentifier(line.session))
            waiting.removeFirst().continuation.resume(returning: .success(line))
        }
    }

    private func add() {
        guard !isConnecting, lines.count < Self.mostLines, !isClosed else { return }
        isConnecting = true
        Task {
            do throws(SSHFailure) {
                let line = try await connect()
                isConnecting = false
                if isClosed { return await line.session.close() }
                lines.append(line)
                handOut()
            } catch {
                isConnecting = false
                // The other connections go on; without any, there is nothing to wait for.
                if lines.isEmpty { fail(error) }
            }
            // Those who still wait may need yet another.
            if !waiting.isEmpty {
                try? await Task.sleep(for: Self.patience)
                if !waiting.isEmpty { add() }
            }
        }
    }

    private func fail(_ failure: SSHFailure) {
        let all = waiting
        waiting = []
        for waiter in all { waiter.continuation.resume(returning: .failure(failure)) }
    }

    private func dropDead() async {
        for line in lines where await !line.session.isOpen {
            lines.removeAll { $0.session === line.session }
            busy.remove(ObjectIdentifier(line.session))
        }
    }

    func close() async {
        isClosed = true
        fail(SSHFailure(.unreachable, "the connections were closed"))
        let all = lines
        lines = []
        for line in all { await line.session.close() }
    }
}
