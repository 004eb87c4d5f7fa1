package import Forge
import Foundation
import HTTPTypes
import HummingbirdCore
package import Logging
import NIOCore
package import NIOSSL
import Reporting
import Synchronization

/// The only address beyond loopback: POST `/hook`, or `/hook/FORGE`, where only that forge counts.
///
/// - Guarantees: `onPush` is called for genuine notices of the followed repository and for nothing else, before the sender has its answer. A body is
///   read up to its limit, only where its headers could be true, and parsed only once its signature was right.
package struct WebhookServer: Sendable {
    package struct Limits: Sendable, Hashable {
        /// Of one body. GitHub sends up to 25 MB; a push as long as this is found by the poll.
        package var body = 3 << 20
        /// Of all bodies beyond `smallBody` together, that are in memory at a time.
        package var largeBodies = 32 << 20
        package var smallBody = 64 << 10
        package var connections = 512
        /// For a whole request.
        package var deadline = Duration.seconds(10)

        package init() {}
    }

    private let listener: HTTPListener
    private let verifier: WebhookVerifier
    private let repository: FollowedRepository
    private let limits: Limits
    private let metrics: Metrics
    private let onPush: @Sendable (PushNotice) -> Void
    private let onPullRequest: @Sendable (PullRequestNotice) -> Void
    private let memory: Memory
    private let log: RefusalLog

    /// - Parameters:
    ///   - tls: nil: plain HTTP, for loopback or behind a proxy that ends TLS.
    ///   - onPush: must not block: the sender waits. So must `onPullRequest` not.
    package init(
        address: Configuration.Address,
        tls: TLSConfiguration? = nil,
        verifier: WebhookVerifier,
        repository: FollowedRepository,
        limits: Limits = Limits(),
        metrics: Metrics,
        logger: Logger,
        onPush: @escaping @Sendable (PushNotice) -> Void,
        onPullRequest: @escaping @Sendable (PullRequestNotice) -> Void = { _ in }
    ) {
        listener = HTTPListener(address: address, tls: tls, connections: limits.connections, deadline: limits.deadline)
        self.verifier = verifier
        self.repository = repository
        self.limits = limits
        self.metrics = metrics
        self.onPush = onPush
        self.onPullRequest = onPullRequest
        memory = Memory(limit: limits.largeBodies)
        log = RefusalLog(logger)
    }

    /// Serves until the task is cancelled.
    ///
    /// - Parameter onListening: told the port once it is open.
    package func run(onListening: @escaping @Sendable (Int) -> Void = { _ in }) async throws {
        try await listener.run(onListening: onListening) { request, channel in
            let answer = try await answer(request)
            metrics.increment(Self.requests, ["provider": answer.provider, "outcome": answer.outcome])
            if answer.closes {
                // Its rest is not waited for; a moment, so that the answer is not lost with it.
                channel.eventLoop.scheduleTask(in: .seconds(1)) { channel.close(promise: nil) }
            }
            return answer.response
        }
    }

    private static let requests = Metrics.Metric(
        "plumb_webhook_requests_total",
        .counter,
        "Webhook requests by forge and by what became of them."
    )

    private struct Answer {
        var response: Response
        var provider = "unknown"
        var outcome: String
        /// The body was not read to its end.
        var closes = false
    }

    private func answer(_ request: Request) async throws -> Answer {
        let path = request.path
        let forge = path.hasPrefix("/hook/") ? ForgeKind(rawValue: String(path.dropFirst(6))) : nil
        guard path == "/hook" || forge != nil else { return unread(request, .text(.notFound, "not found\n"), "not_found") }
        guard request.method == .post else {
            return unread(request, .text(.methodNotAllowed, "POST only\n", headers: [.allow: "POST"]), "method")
        }
        let headers = WebhookHeaders(request.headers.lazy.map { (name: $0.name.canonicalName, value: $0.value) })
        let claim: WebhookClaim
        switch verifier.claim(headers) {
        case .success(let found): claim = found
        case .failure(let refusal): return refused(refusal, by: "unknown", request)
        }
        if let forge, claim.forge != forge { return refused(.notConfigured(claim.forge), by: "unknown", request) }
        let provider = claim.forge.rawValue
        if let length = request.headers[.contentLength].flatMap({ Int($0) }), length > limits.body { return tooLarge(provider) }

        var reserved = 0
        defer { memory.release(reserved) }
        var body: [UInt8] = []
        for try await chunk in request.body {
            let total = body.count + chunk.readableBytes
            if total > limits.body { return tooLarge(provider) }
            if total > limits.smallBody {
                guard memory.reserve(total - reserved) else {
                    let response = Response.text(.tooManyRequests, "too much at a time\n", headers: [.retryAfter: "5", .connection: "close"])
                    return Answer(response: response, provider: provider, outcome: "busy", closes: true)
                }
                reserved = total
            }
            chunk.readableBytesView.withContiguousStorageIfAvailable { body.append(contentsOf: $0) }
        }
        switch verifier.verify(claim, body: body, at: Int64(Date().timeIntervalSince1970)) {
        case .failure(let refusal): return refused(refusal, by: provider, nil)
        case .success(let delivery): return accepted(delivery, provider)
        }
    }

    private func accepted(_ delivery: WebhookDelivery, _ provider: String) -> Answer {
        let isRepeated: Bool
        switch delivery.event {
        case .ignored: return Answer(response: .text(.accepted, "ignored\n"), provider: provider, outcome: "ignored")
        case .pushes(let notices):
            guard notices.allSatisfy(repository.isMeant(by:)) else { return elsewhere(notices.first?.repositories ?? [], provider) }
            let news = memory.recent.withLock { $0.news(in: delivery, at: memory.start.duration(to: .now)) }
            for notice in news { onPush(notice) }
            isRepeated = news.isEmpty && !notices.isEmpty
        case .pullRequest(let notice):
            guard repository.isMeant(by: notice) else { return elsewhere(notice.repositories, provider) }
            let news = memory.recent.withLock { $0.pullRequest(in: delivery, at: memory.start.duration(to: .now)) }
            if let news { onPullRequest(news) }
            isRepeated = news == nil
        }
        return Answer(
            response: .text(.accepted, isRepeated ? "known already\n" : "accepted\n"),
            provider: provider,
            outcome: isRepeated ? "repeated" : "accepted"
        )
    }

    private func elsewhere(_ repositories: [String], _ provider: String) -> Answer {
        let names = repositories.prefix(2).map { Escaping.shortened($0, limit: 120) }.joined(separator: ", ")
        log.note("a webhook is about \(names), which is not the source; if it is, say so in 'webhooks.repository'")
        return Answer(response: .text(.forbidden, "this repository is not followed here\n"), provider: provider, outcome: "other_repository")
    }

    /// - Parameter request: where its body was not read.
    private func refused(_ refusal: WebhookRefusal, by provider: String, _ request: Request?) -> Answer {
        log.note("a webhook was refused: \(refusal.message)")
        let isGenuine: Bool
        if case .unreadable = refusal { isGenuine = true } else { isGenuine = false }
        // A stranger is not told what was missing.
        let response = isGenuine ? Response.text(.badRequest, "\(refusal.message)\n") : Response.text(.unauthorized, "not authenticated\n")
        var answer = request.map { unread($0, response, refusal.label) } ?? Answer(response: response, outcome: refusal.label)
        answer.provider = provider
        return answer
    }

    private func tooLarge(_ provider: String) -> Answer {
        let response = Response.text(.contentTooLarge, "more than \(limits.body) bytes\n", headers: [.connection: "close"])
        return Answer(response: response, provider: provider, outcome: "too_large", closes: true)
    }

    /// An answer before the body: a short one is skipped, and for any other the connection is not worth it.
    private func unread(_ request: Request, _ response: Response, _ outcome: String) -> Answer {
        let length = request.headers[.contentLength].flatMap { Int($0) }
        let isShort = length.map { $0 <= limits.smallBody } ?? (request.headers[.transferEncoding] == nil)
        return Answer(response: response, outcome: outcome, closes: !isShort)
    }

    private final class Memory: Sendable {
        let recent = Mutex(RecentDeliveries())
        let start = ContinuousClock.now
        private let limit: Int
        private let used = Mutex(0)

        init(limit: Int) { self.limit = limit }

        func reserve(_ bytes: Int) -> Bool {
            used.withLock { used in
                guard used + bytes <= limit else { return false }
                used += bytes
                return true
            }
        }

        func release(_ bytes: Int) {
            if bytes > 0 { used.withLock { $0 -= bytes } }
        }
    }
}

/// Says at most every ten seconds that something was refused, so that a flood is no flood of lines.
final class RefusalLog: Sendable {
    private struct State {
        var next: ContinuousClock.Instant?
        var unsaid = 0
    }

    private static let pause = Duration.seconds(10)

    private let logger: Logger
    private let state = Mutex(State())

    init(_ logger: Logger) { self.logger = logger }

    func note(_ message: @autoclosure () -> String) {
        let now = ContinuousClock.now
        let unsaid: Int? = state.withLock { state in
            if let next = state.next, now < next {
                state.unsaid += 1
                return nil
            }
            defer { state = State(next: now + Self.pause) }
            return state.unsaid
        }
        guard let unsaid else { return }
        logger.warning("\(message())\(unsaid > 0 ? " (and \(unsaid) more refusals before)" : "")")
    }
}
