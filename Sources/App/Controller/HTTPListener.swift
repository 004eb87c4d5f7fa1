import HTTPTypes
import HummingbirdCore
import HummingbirdTLS
import Logging
import NIOCore
import NIOHTTPTypes
import NIOPosix
import NIOSSL
import Synchronization

/// Why an address or a socket is not served.
package struct ListeningFailure: Error, Hashable, Sendable, CustomStringConvertible {
    package var message: String
    package var fix: String

    package var description: String { "\(message). \(fix)" }
}

/// One address that answers HTTP/1.1.
///
/// - Guarantees: a peer that does not send its request, or does not end it, is gone at the deadline; half the deadlines are shorter once half of the
///   connections are taken, so that those who only hold them can't keep others out.
struct HTTPListener: Sendable {
    var address: Configuration.Address
    var tls: TLSConfiguration?
    /// At the same time; more wait in the kernel.
    var connections: Int
    /// From the connection, or the answer before, to the end of a request.
    var deadline: Duration

    /// Serves until the task is cancelled.
    ///
    /// - Parameter onListening: told the port once it is open.
    /// - Throws: `ListeningFailure` where the address can't be had.
    func run(
        onListening: @escaping @Sendable (Int) -> Void,
        respond: @escaping @Sendable (Request, any Channel) async throws -> Response
    ) async throws {
        let open = OpenConnections()
        let (deadline, connections) = (deadline, connections)
        let http = HTTP1Channel(
            responder: { request, writer, channel in
                let response = try await respond(request, channel)
                try await writer.write(response: response.head, body: response.body)
            },
            configuration: .init(
                additionalChannelHandlers: [RequestDeadline(deadline, open: open, few: connections / 2)],
                httpDecoderConfiguration: .init(maxHeaderFieldSize: 8 << 10, maxHeaderListSize: 32 << 10, maxHeaderFieldCount: 100)
            )
        )
        while true {
            if let tls {
                try await serve(DroppableConnections(base: TLSChannel(http, tlsConfiguration: tls)), onListening: onListening)
            } else {
                try await serve(DroppableConnections(base: http), onListening: onListening)
            }
            // It ends by itself when a connection could not be accepted, for want of descriptors for one.
            try await Task.sleep(for: .seconds(1))
        }
    }

    private func serve(_ child: some ServerChildChannel, onListening: @escaping @Sendable (Int) -> Void) async throws {
        // What a peer does wrong is no news for our log; what counts is counted by who answers.
        let silent = Logger(label: "plumb.http") { _ in SwiftLogNoOpLogHandler() }
        do {
            try await serve(child, silent, onListening: onListening)
        } catch let error as IOError {
            throw ListeningFailure(
                message: "can't listen on \(address): \(error.errnoCode == EADDRINUSE ? "the address is taken" : "\(error)")",
                fix: "Another plumb may run here; 'ss -ltnp' shows who has it."
            )
        }
    }

    private func serve(
        _ child: some ServerChildChannel,
        _ logger: Logger,
        onListening: @escaping @Sendable (Int) -> Void
    ) async throws {
        let server = Server(
            childChannelSetup: child,
            configuration: ServerConfiguration(
                address: .hostname(address.host, port: address.port),
                serverName: nil,
                backlog: 1024,
                availableConnectionsDelegate: MaximumAvailableConnections(connections, logger: logger)
            ),
            onServerRunning: { onListening($0.localAddress?.port ?? 0) },
            eventLoopGroup: MultiThreadedEventLoopGroup.singleton,
            logger: logger
        )
        try await server.run()
    }
}

extension Response {
    /// One line for a person.
    static func text(_ status: HTTPResponse.Status, _ text: String, headers: HTTPFields = [:]) -> Response {
        var headers = headers
        headers[.contentType] = "text/plain; charset=utf-8"
        return Response(status: status, headers: headers, body: ResponseBody(byteBuffer: ByteBuffer(string: text)))
    }
}

extension Request {
    /// Without the query.
    var path: String { String((head.path ?? "").prefix { $0 != "?" }) }
}

final class OpenConnections: Sendable {
    private let count = Atomic(0)

    /// How many there are now.
    func opened() -> Int { count.add(1, ordering: .relaxed).newValue }
    func closed() { count.subtract(1, ordering: .relaxed) }
    var current: Int { count.load(ordering: .relaxed) }
}

/// Ends a connection whose peer owes us the rest of a request, or the next one, for too long.
final class RequestDeadline: ChannelDuplexHandler, RemovableChannelHandler {
    typealias InboundIn = HTTPRequestPart
    typealias InboundOut = HTTPRequestPart
    typealias OutboundIn = HTTPResponsePart
    typealias OutboundOut = HTTPResponsePart

    private static let crowded = Duration.seconds(2)

    private let deadline: Duration
    private let open: OpenConnections
    private let few: Int
    private var timer: Scheduled<Void>?
    private var isCounted = false
    private var requests = 0
    private var responses = 0

    init(_ deadline: Duration, open: OpenConnections, few: Int) {
        self.deadline = deadline
        self.open = open
        self.few = few
    }

    func handlerAdded(context: ChannelHandlerContext) {
        isCounted = true
        _ = open.opened()
        start(context)
    }

    func handlerRemoved(context: ChannelHandlerContext) { end() }

    func channelInactive(context: ChannelHandlerContext) {
        end()
        context.fireChannelInactive()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        if case .end = unwrapInboundIn(data) {
            requests += 1
            // Answered before it was read: the next one is waited for.
            if responses >= requests { start(context) } else { stop() }
        }
        context.fireChannelRead(data)
    }

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        if case .end = unwrapOutboundIn(data) {
            responses += 1
            start(context)
        }
        context.write(data, promise: promise)
    }

    private func start(_ context: ChannelHandlerContext) {
        stop()
        guard isCounted else { return }
        let channel = context.channel
        let time = open.current > few ? min(deadline, Self.crowded) : deadline
        timer = channel.eventLoop.scheduleTask(in: TimeAmount(time)) { channel.close(promise: nil) }
    }

    private func stop() {
        timer?.cancel()
        timer = nil
    }

    private func end() {
        stop()
        if isCounted { open.closed() }
        isCounted = false
    }
}
