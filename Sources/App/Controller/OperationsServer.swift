import HTTPTypes
import HummingbirdCore
import NIOCore
import Synchronization

/// For who operates it: GET `/metrics` (Prometheus), `/healthz` (restart it, if this fails), `/readyz` (it does its work).
package struct OperationsServer: Sendable {
    /// How long an answer of ours may take before it counts as none.
    private static let patience = Duration.seconds(2)

    private let listener: HTTPListener
    private let metrics: Metrics
    private let trouble: @Sendable () async -> String?
    private let unreadiness: @Sendable () async -> String?

    /// - Parameters:
    ///   - trouble: asked through whatever would be stuck, the queue for one; what is wrong, or nil. No answer within 2 s counts as stuck.
    ///   - unreadiness: why it is not ready, or nil.
    package init(
        address: Configuration.Address,
        metrics: Metrics,
        trouble: @escaping @Sendable () async -> String?,
        unreadiness: @escaping @Sendable () async -> String?
    ) {
        listener = HTTPListener(address: address, tls: nil, connections: 64, deadline: .seconds(10))
        self.metrics = metrics
        self.trouble = trouble
        self.unreadiness = unreadiness
    }

    /// Serves until the task is cancelled.
    ///
    /// - Parameter onListening: told the port once it is open.
    package func run(onListening: @escaping @Sendable (Int) -> Void = { _ in }) async throws {
        try await listener.run(onListening: onListening) { request, channel in
            if request.headers[.transferEncoding] != nil || (request.headers[.contentLength].flatMap { Int($0) } ?? 0) > 0 {
                channel.eventLoop.scheduleTask(in: .seconds(1)) { channel.close(promise: nil) }
            }
            guard request.method == .get || request.method == .head else {
                return .text(.methodNotAllowed, "GET only\n", headers: [.allow: "GET, HEAD"])
            }
            let response: Response
            switch request.path {
            case "/metrics":
                var rendered = Response.text(.ok, metrics.render())
                rendered.headers[.contentType] = "text/plain; version=0.0.4; charset=utf-8"
                response = rendered
            case "/healthz": response = await Self.verdict(trouble)
            case "/readyz": response = await Self.verdict(unreadiness)
            default: response = .text(.notFound, "/metrics, /healthz, /readyz\n")
            }
            return request.method == .head ? response.createHeadResponse() : response
        }
    }

    private static func verdict(_ question: @escaping @Sendable () async -> String?) async -> Response {
        guard let answer = await answer(to: question) else {
            return .text(.serviceUnavailable, "no answer within \(patience.components.seconds) s\n")
        }
        return answer.map { .text(.serviceUnavailable, "\($0)\n") } ?? .text(.ok, "ok\n")
    }

    /// nil: none in time. What was asked may hang for ever: it is not waited for.
    private static func answer(to question: @escaping @Sendable () async -> String?) async -> String?? {
        let (answers, sender) = AsyncStream.makeStream(of: Optional<String?>.self, bufferingPolicy: .bufferingOldest(1))
        let asking = Task { sender.yield(.some(await question())) }
        let waiting = Task {
            try? await Task.sleep(for: patience)
            sender.yield(nil)
        }
        defer {
            asking.cancel()
            waiting.cancel()
        }
        for await answer in answers { return answer }
        return nil
    }
}
