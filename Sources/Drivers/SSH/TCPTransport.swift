internal import NIOCore
internal import NIOPosix

#if canImport(Glibc)
internal import Glibc
#elseif canImport(Musl)
internal import Musl
#endif

/// Hands what arrives on a TCP connection to its session, on the event loop that both share.
private final class TCPTransport: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    private let session: SSHSession
    private var reason: String?

    init(_ session: SSHSession) { self.session = session }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let bytes = unwrapInboundIn(data)
        session.assumeIsolated { $0.received(bytes) }
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        // The kernel leaves this mode by itself, and a delayed acknowledgment costs 40 ms where the server's Nagle waits for it.
        try? context.channel.syncOptions?.setOption(.tcpOption(.init(rawValue: TCP_QUICKACK)), value: 1)
        session.assumeIsolated { $0.receivedAll() }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        reason = (error as? IOError).map { Reasons.words(errno: $0.errnoCode) } ?? "\(error)"
        context.close(promise: nil)
    }

    func channelInactive(context: ChannelHandlerContext) {
        let reason = reason
        session.assumeIsolated { $0.transportEnded(reason) }
    }
}

extension SSHSession {
    /// Connects to the first address of the host that answers.
    func connectTCP(host: String, port: Int, limit: Duration) async throws(SSHFailure) {
        let bootstrap = ClientBootstrap(group: eventLoop)
            .channelOption(.tcpOption(.tcp_nodelay), value: 1)
            .channelOption(.socketOption(.so_keepalive), value: 1)
            // What was sent and is not acknowledged for this long ends the connection: a host that vanished is noticed between two answers.
            .channelOption(.tcpOption(.init(rawValue: TCP_USER_TIMEOUT)), value: 30_000)
            .connectTimeout(TimeAmount(limit))
            .channelInitializer { [self] channel in
                channel.eventLoop.makeCompletedFuture { try channel.pipeline.syncOperations.addHandler(TCPTransport(self)) }
            }
        let future: EventLoopFuture<any NIOCore.Channel>
        if let address = try? SocketAddress(ipAddress: host, port: port) {
            future = bootstrap.connect(to: address)
        } else {
            future = bootstrap.connect(host: host, port: port)
        }
        // The session's own deadline counts while names are resolved, which nothing can interrupt.
        let result = await withCheckedContinuation { (continuation: CheckedContinuation<Result<any NIOCore.Channel, any Error>, Never>) in
            var isDone = false
            whenOver { failure in
                if isDone { return }
                isDone = true
                continuation.resume(returning: .failure(failure))
            }
            future.hop(to: eventLoop).assumeIsolated().whenComplete { result in
                if isDone {
                    if case .success(let channel) = result { channel.close(promise: nil) }
                    return
                }
                isDone = true
                continuation.resume(returning: result)
            }
        }
        switch result {
        case .success(let channel):
            try attach(
                Transport(
                    write: { channel.writeAndFlush($0, promise: nil) },
                    close: { channel.close(promise: nil) }
                )
            )
        case .failure(let error):
            throw (error as? SSHFailure) ?? Reasons.failure(error, place: place, host: host, port: port, limit: limit)
        }
    }
}

/// Why a TCP connection does not come about, in plain words.
enum Reasons {
    static func failure(_ error: any Error, place: String, host: String, port: Int, limit: Duration) -> SSHFailure {
        if let error = error as? NIOConnectionError {
            if error.connectionErrors.isEmpty, error.dnsAError != nil || error.dnsAAAAError != nil {
                return SSHFailure(
                    .unreachable,
                    "the name '\(host)' of \(place) can't be resolved: is it spelled right, and does 'getent hosts \(host)' find it here?"
                )
            }
            // Several addresses: the reason that tells most.
            let failures = error.connectionErrors.map { failure(one: $0.error, place: place, port: port, limit: limit) }
            if let refused = failures.first(where: { $0.isTold }) ?? failures.first { return refused.failure }
        }
        return failure(one: error, place: place, port: port, limit: limit).failure
    }

    private static func failure(one error: any Error, place: String, port: Int, limit: Duration) -> (failure: SSHFailure, isTold: Bool) {
        if let error = error as? IOError {
            let told = error.errnoCode == ECONNREFUSED
            return (SSHFailure(.unreachable, "\(place) can't be reached: \(words(errno: error.errnoCode, port: port))"), told)
        }
        if case .connectTimeout = error as? ChannelError {
            let message =
                "\(place) did not answer within \(limit.inWords): is the address right, the host on, and no firewall in between that drops packets?"
            return (SSHFailure(.unreachable, message), false)
        }
        return (SSHFailure(.unreachable, "\(place) can't be reached: \(error)"), false)
    }

    static func words(errno code: Int32, port: Int? = nil) -> String {
        switch code {
        case ECONNREFUSED: "connection refused: the host is there, but nothing listens on port \(port ?? 22); is sshd running, and is that its port?"
        case EHOSTUNREACH: "no route to host: it is off, has another address, or a firewall rejects us"
        case ENETUNREACH: "network unreachable: this machine has no route there; is its network or VPN up?"
        case ECONNRESET: "the other side reset the connection"
        case ETIMEDOUT: "the other side stopped answering"
        case EPIPE: "the other side had closed the connection"
        case EACCES, EPERM: "this machine does not allow the connection (a local firewall?)"
        default: String(cString: strerror(code)).lowercased()
        }
    }
}
