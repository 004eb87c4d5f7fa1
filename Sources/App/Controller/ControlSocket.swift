package import Forge
import Glibc
package import Logging
import NIOCore
import NIOPosix
package import Values

/// The daemon's Unix socket: `plumb status`, hooks, and whatever else is asked on this machine.
///
/// Who may what is decided by the peer's user as the kernel tells it: root and the daemon's own user may everything, all others who can connect may
/// announce a push. Who can connect is decided by the file: 0600, or 0660 with a group.
///
/// - Guarantees: a request that is too long, too slow or no JSON ends its own connection and nothing else; so does a handler that takes too long.
package struct ControlSocket: Sendable {
    /// Of one connection.
    package struct Limits: Sendable, Hashable {
        package var connections = 64
        /// For the request to be there, and for each answer to be taken.
        package var deadline = Duration.seconds(5)
        /// For the answer to be made.
        package var answer = Duration.seconds(3700)

        package init() {}
    }

    /// What becomes of notices that all are about the followed repository: lines for the pusher. To be queued before the first wait: it is cancelled
    /// when the pusher is gone or has waited enough, which is no reason to forget the push.
    package typealias OnPush = @Sendable (_ notices: [PushNotice], _ wait: Duration, _ peer: ControlPeer) async -> [String]
    /// Any other command; nil: there is none of that name.
    package typealias OnCommand = @Sendable (ControlRequest, ControlPeer) async -> Value?

    package static let fileName = "control.sock"

    private let path: String
    private let group: String?
    private let repository: FollowedRepository
    private let limits: Limits
    private let logger: Logger
    private let onPush: OnPush
    private let onCommand: OnCommand

    /// - Parameter group: who may connect beside the owner.
    package init(
        path: String,
        group: String? = nil,
        repository: FollowedRepository,
        limits: Limits = Limits(),
        logger: Logger,
        onPush: @escaping OnPush,
        onCommand: @escaping OnCommand
    ) {
        self.path = path
        self.group = group
        self.repository = repository
        self.limits = limits
        self.logger = logger
        self.onPush = onPush
        self.onCommand = onCommand
    }

    /// Serves until the task is cancelled, and takes the file away.
    ///
    /// - Parameter onListening: called once others can connect.
    /// - Throws: `ListeningFailure` where the path can't be had, for one because a live daemon has it.
    package func run(onListening: @escaping @Sendable () -> Void = {}) async throws {
        let place = try SocketPlace(path, group: group)
        let server: NIOAsyncChannel<AcceptedConnection<ByteBuffer, ByteBuffer>, Never>
        do {
            server = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
                .serverChannelOption(.backlog, value: 64)
                .serverChannelInitializer { channel in
                    channel.eventLoop.makeCompletedFuture { try channel.pipeline.syncOperations.addHandler(AcceptErrors()) }
                }
                .childChannelOption(.allowRemoteHalfClosure, value: true)
                .bind(unixDomainSocketPath: place.temporary, cleanupExistingSocketFile: true) { channel in
                    channel.eventLoop.makeCompletedFuture {
                        let connection = try NIOAsyncChannel<ByteBuffer, ByteBuffer>(
                            wrappingChannelSynchronously: channel,
                            configuration: .init(isOutboundHalfClosureEnabled: true)
                        )
                        return AcceptedConnection(connection)
                    }
                }
        } catch let error as IOError {
            throw ListeningFailure(message: "can't listen on \(path): \(words(of: error.errnoCode))", fix: "Set 'socket.path' to a folder of ours.")
        }
        var failure: ListeningFailure?
        do throws(ListeningFailure) { try place.settle() } catch { failure = error }
        defer { if failure == nil { place.remove() } }
        let open = OpenConnections()
        try await server.executeThenClose { [failure] inbound in
            if let failure { throw failure }
            onListening()
            try await withThrowingDiscardingTaskGroup { tasks in
                for try await connection in inbound {
                    let isMuch = open.opened() > limits.connections
                    tasks.addTask {
                        defer { open.closed() }
                        // What goes wrong on a connection is the peer's: it is gone.
                        try? await serve(connection, isMuch: isMuch)
                    }
                }
            }
        }
    }

    private func serve(_ connection: AcceptedConnection<ByteBuffer, ByteBuffer>, isMuch: Bool) async throws {
        let channel = connection.channel
        let peer = try await peer(of: channel)
        let writer = Replies(channel: channel, deadline: limits.deadline)
        try await connection.take().executeThenClose { inbound, _ in
            if isMuch {
                try await writer.send(ControlFailure("more than \(limits.connections) ask at the same time", fix: "Try again.").value)
                return
            }
            var timer = close(channel, in: limits.deadline)
            defer { timer.cancel() }
            try await withThrowingDiscardingTaskGroup { tasks in
                var received = Received()
                // To the end, also once the request is there: when the peer goes, nobody waits for the answer any more.
                for try await chunk in inbound {
                    guard let outcome = received.take(chunk) else { continue }
                    timer.cancel()
                    timer = close(channel, in: limits.answer)
                    tasks.addTask {
                        defer { channel.close(promise: nil) }
                        switch outcome {
                        case .success(let request): try await answer(request, peer) { try await writer.send($0) }
                        case .failure(let failure): try await writer.send(failure.value)
                        }
                    }
                }
                tasks.cancelAll()
            }
        }
    }

    private func close(_ channel: any Channel, in time: Duration) -> Scheduled<Void> {
        channel.eventLoop.scheduleTask(in: TimeAmount(time)) { channel.close(promise: nil) }
    }

    /// What has come of a request.
    private struct Received {
        private var line: [UInt8] = []
        private var isDone = false

        /// The request or what is wrong with it, once.
        mutating func take(_ chunk: ByteBuffer) -> Result<ControlRequest, ControlFailure>? {
            if isDone { return nil }
            let part = chunk.readableBytesView
            let end = part.firstIndex(of: UInt8(ascii: "\n"))
            line.append(contentsOf: part[..<(end ?? part.endIndex)])
            if line.count > ControlRequest.limit {
                isDone = true
                return .failure(ControlFailure("the request has more than \(ControlRequest.limit) bytes"))
            }
            guard end != nil else { return nil }
            isDone = true
            return ControlRequest(line: line).map(Result.success) ?? .failure(ControlFailure("the request is no JSON object with a 'command'"))
        }
    }

    private func answer(_ request: ControlRequest, _ peer: ControlPeer, reply: @Sendable (Value) async throws -> Void) async throws {
        if request.command == "push" { return try await answerPush(request, peer, reply: reply) }
        guard peer.user == 0 || peer.user == geteuid() else {
            logger.warning("user \(peer.user) (process \(peer.process)) may only announce a push over the control socket")
            let failure = ControlFailure("only root and the user that runs the daemon may ask this", fix: "Use sudo.")
            return try await reply(failure.value)
        }
        let unknown = ControlFailure("there is no such command", fix: "The daemon may be of another version.")
        try await reply(await onCommand(request, peer) ?? unknown.value)
    }

    private func answerPush(_ request: ControlRequest, _ peer: ControlPeer, reply: @Sendable (Value) async throws -> Void) async throws {
        guard let push = request.push else {
            return try await reply(ControlFailure("'push' needs 'repository', an absolute path, and 'refs'").value)
        }
        guard repository.isMeant(byHookIn: push.repository) else {
            return try await reply(ControlFailure("this repository is not followed here", fix: "See 'source.url' and 'webhooks.repository'.").value)
        }
        try await reply(["accepted": true])
        let lines = await withDeadline(push.wait) { await onPush(push.notices, push.wait, peer) }
        try await reply(["done": .bool(lines != nil), "lines": .array((lines ?? []).map(Value.string))])
    }

    /// nil where it took longer; it is cancelled then, and given a moment to end.
    private func withDeadline(_ time: Duration, _ body: @escaping @Sendable () async -> [String]) async -> [String]? {
        await withTaskGroup(of: [String]?.self) { tasks in
            tasks.addTask { await body() }
            tasks.addTask {
                // One second more than the handler is given: it knows best what to say at its end.
                try? await Task.sleep(for: time + .seconds(1))
                return nil
            }
            defer { tasks.cancelAll() }
            return await tasks.next() ?? nil
        }
    }

    private func peer(of channel: any Channel) async throws -> ControlPeer {
        guard let options = channel as? any SocketOptionProvider else { throw ControlFailure("no socket") }
        let name = NIOBSDSocket.Option(rawValue: SO_PEERCRED)
        let credentials: PeerCredentials = try await options.unsafeGetSocketOption(level: .socket, name: name).get()
        return ControlPeer(user: credentials.user, group: credentials.group, process: credentials.process)
    }
}

/// A connection that could not be accepted, for want of descriptors for one, is no reason to accept no more.
private final class AcceptErrors: ChannelInboundHandler {
    typealias InboundIn = any Channel

    func errorCaught(context: ChannelHandlerContext, error: any Error) {}
}

/// Writes answers; a peer that does not take them is gone at the deadline.
private struct Replies: Sendable {
    var channel: any Channel
    var deadline: Duration

    /// Returns once the kernel has it, so that closing afterwards loses nothing.
    func send(_ value: Value) async throws {
        let channel = channel
        let line = ByteBuffer(string: value.canonicalJSON + "\n")
        let timer = channel.eventLoop.scheduleTask(in: TimeAmount(deadline)) { channel.close(promise: nil) }
        defer { timer.cancel() }
        try await channel.writeAndFlush(line).get()
    }
}

func words(of code: Int32) -> String { String(cString: strerror(code)) }
