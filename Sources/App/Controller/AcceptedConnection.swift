import HummingbirdCore
import Logging
import NIOCore
import NIOHTTPTypes
import Synchronization

/// A connection that somebody may take.
///
/// NIO ends the process where one is dropped that nobody took, as happens to who comes in the moment a server ends; this one is closed instead.
final class AcceptedConnection<Inbound: Sendable, Outbound: Sendable>: Sendable {
    private let wrapped: NIOAsyncChannel<Inbound, Outbound>
    private let isTaken = Atomic(false)

    init(_ wrapped: NIOAsyncChannel<Inbound, Outbound>) { self.wrapped = wrapped }

    deinit {
        if isTaken.load(ordering: .relaxed) { return }
        Task { [wrapped] in try? await wrapped.executeThenClose { _, _ in } }
    }

    var channel: any Channel { wrapped.channel }

    /// For who runs `executeThenClose` on it.
    func take() -> NIOAsyncChannel<Inbound, Outbound> {
        isTaken.store(true, ordering: .relaxed)
        return wrapped
    }
}

extension AcceptedConnection: ServerChildChannelValue where Inbound == HTTPRequestPart, Outbound == HTTPResponsePart {}

/// A server's connections, each of which may be dropped at any time.
struct DroppableConnections<Base: ServerChildChannel>: ServerChildChannel where Base.Value == NIOAsyncChannel<HTTPRequestPart, HTTPResponsePart> {
    let base: Base

    func setup(channel: any Channel, logger: Logger) -> EventLoopFuture<AcceptedConnection<HTTPRequestPart, HTTPResponsePart>> {
        base.setup(channel: channel, logger: logger).map(AcceptedConnection.init)
    }

    func handle(value: AcceptedConnection<HTTPRequestPart, HTTPResponsePart>, logger: Logger) async {
        await base.handle(value: value.take(), logger: logger)
    }
}
