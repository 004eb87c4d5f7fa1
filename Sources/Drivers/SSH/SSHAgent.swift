internal import NIOCore
internal import NIOPosix

/// Asks the ssh-agent, each time over a connection of its own. libssh2's agent functions can't be used: they would send the agent's messages to
/// the server, through the session's callbacks.
struct SSHAgent: Hashable, Sendable {
    let path: String

    struct Failure: Error, Hashable, Sendable {
        var reason: String
    }

    func identities(on eventLoop: any EventLoop) async throws(Failure) -> [AgentProtocol.Identity] {
        let answer = try await ask(AgentProtocol.requestIdentities(), limit: .seconds(5), on: eventLoop)
        do throws(AgentProtocol.Malformed) {
            return try AgentProtocol.identities(answer)
        } catch {
            throw Failure(reason: error == .refused ? "it is locked" : "it answered something that can't be read")
        }
    }

    /// - Parameter limit: Whoever holds the agent may have to confirm, or to touch a token.
    func sign(_ data: [UInt8], by key: PublicKey, algorithm: String, limit: Duration, on eventLoop: any EventLoop) async throws(Failure) -> [UInt8] {
        let flags: UInt32 = algorithm == "rsa-sha2-512" ? 4 : algorithm == "rsa-sha2-256" ? 2 : 0
        let answer = try await ask(AgentProtocol.requestSignature(of: data, by: key, flags: flags), limit: limit, on: eventLoop)
        do throws(AgentProtocol.Malformed) {
            return try AgentProtocol.signature(answer, algorithm: algorithm)
        } catch {
            throw Failure(reason: error == .refused ? "it refused to sign (was that confirmed?)" : "it answered something that can't be read")
        }
    }

    private func ask(_ request: [UInt8], limit: Duration, on eventLoop: any EventLoop) async throws(Failure) -> [UInt8] {
        let promise = eventLoop.makePromise(of: [UInt8].self)
        let timer = eventLoop.scheduleTask(in: TimeAmount(limit)) { promise.fail(Failure(reason: "it did not answer within \(limit.inWords)")) }
        let connecting = ClientBootstrap(group: eventLoop)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture { try channel.pipeline.syncOperations.addHandler(AgentHandler(promise)) }
            }
            .connect(unixDomainSocketPath: path)
        connecting.whenComplete { result in
            switch result {
            case .success(let channel):
                channel.writeAndFlush(ByteBuffer(bytes: request), promise: nil)
                // However it ends: one question, one connection.
                promise.futureResult.whenComplete { _ in channel.close(promise: nil) }
            case .failure(let error):
                promise.fail(Failure(reason: "it can't be reached: \((error as? IOError).map { Reasons.words(errno: $0.errnoCode) } ?? "\(error)")"))
            }
        }
        do {
            let answer = try await promise.futureResult.get()
            timer.cancel()
            return answer
        } catch {
            timer.cancel()
            throw (error as? Failure) ?? Failure(reason: "\(error)")
        }
    }
}

private final class AgentHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    private let promise: EventLoopPromise<[UInt8]>
    private var received = ByteBuffer()

    init(_ promise: EventLoopPromise<[UInt8]>) { self.promise = promise }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        received.writeImmutableBuffer(unwrapInboundIn(data))
        guard let length = AgentProtocol.length(received.readableBytesView) else { return }
        guard length <= AgentProtocol.longestAnswer else {
            return promise.fail(SSHAgent.Failure(reason: "it answered something that can't be read"))
        }
        if received.readableBytes >= 4 + length, let message = received.getBytes(at: received.readerIndex + 4, length: length) {
            promise.succeed(message)
        }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }

    func channelInactive(context: ChannelHandlerContext) { promise.fail(SSHAgent.Failure(reason: "it closed the connection")) }
}
