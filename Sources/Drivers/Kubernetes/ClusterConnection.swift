import AsyncHTTPClient
import Foundation
package import KubernetesAPI
import NIOCore
import NIOHTTP1
import NIOPosix
import NIOSSL
import Synchronization
import Values

/// Which API server is meant, and as whom.
package struct ClusterLogin: Hashable, Sendable {
    /// `--kubeconfig`; nil: `KUBECONFIG`, else `~/.kube/config`, else the pod's service account.
    package var kubeconfig: String?
    /// The kubeconfig context; nil: only right in a pod.
    package var context: String?
    /// For one request, retries included.
    package var timeout: Duration

    package init(kubeconfig: String? = nil, context: String? = nil, timeout: Duration = .seconds(30)) {
        self.kubeconfig = kubeconfig
        self.context = context
        self.timeout = timeout
    }
}

/// One API server: its connections, credentials and retries. `send` is all that others need of it.
///
/// - Guarantees: a request ends within the time of the login, whatever the server does. It is sent again only where that does no harm:
///   when it did not leave this machine, when the server asks to wait, or when doing it twice is doing it once.
/// - Errors: 401 is a failure (`credentials`) that names the settings used; every other status is an answer.
package final class ClusterConnection: Sendable {
    /// What a person should know about these settings although they work: no encryption, an unchecked certificate.
    package let notes: [String]
    let access: ServerAccess
    let timeout: Duration
    private let policy: RetryPolicy
    /// Of one answer. A list comes in pages, so only an absurd object is larger.
    private let largestAnswer: Int
    private let state = Mutex(State())

    private struct State {
        /// Made by the first request: a connection that is never used needs no closing.
        var client: HTTPClient?
        /// Each watch keeps a connection for as long as it lives; requests must not have to wait for one.
        var watchClient: HTTPClient?
        var isClosed = false
        var token: (text: String, readAt: ContinuousClock.Instant)?
    }

    // One thread does for all clusters: what it does is moving bytes.
    static let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)

    /// Reads the configuration; connects when the first request is sent.
    package convenience init(_ login: ClusterLogin) throws(APIFailure) {
        try self.init(login, environment: ProcessInfo.processInfo.environment)
    }

    /// - Parameters:
    ///   - environment: where `KUBECONFIG`, `HOME` and the variables of a pod are looked up.
    ///   - serviceAccount: the folder with the pod's token and authority.
    package convenience init(
        _ login: ClusterLogin,
        environment: [String: String],
        serviceAccount: String = "/var/run/secrets/kubernetes.io/serviceaccount"
    ) throws(APIFailure) {
        let access = try ServerAccess.find(login, environment: environment, serviceAccount: serviceAccount)
        self.init(access, timeout: login.timeout)
    }

    init(_ access: ServerAccess, timeout: Duration, policy: RetryPolicy = RetryPolicy(), largestAnswer: Int = 64 << 20) {
        self.access = access
        self.timeout = timeout
        self.policy = policy
        self.largestAnswer = largestAnswer
        notes = access.notes
    }

    deinit {
        // Not closed: somebody made two and used one. The client insists on being shut down, which needs no waiting here.
        for client in state.withLock({ [$0.client, $0.watchClient] }) { client?.shutdown { _ in } }
    }

    package func close() async {
        let clients = state.withLock { state in
            state.isClosed = true
            defer { (state.client, state.watchClient) = (nil, nil) }
            return [state.client, state.watchClient]
        }
        for client in clients { try? await client?.shutdown() }
    }

    package func send(_ request: APIRequest) async throws(APIFailure) -> APIResponse {
        let deadline = ContinuousClock.now + timeout
        var attempt = 1
        var hasRenewedToken = false
        while true {
            let outcome: RetryPolicy.Outcome
            let result: Result<Answer, APIFailure>
            do throws(ExchangeFailure) {
                let answer = try await exchange(request, deadline: deadline)
                if answer.status == 401 {
                    // A token that was renewed on disk since it was read is no reason to give up.
                    if !hasRenewedToken, try hasNewToken() {
                        hasRenewedToken = true
                        continue
                    }
                    throw ExchangeFailure(Words.unauthorized(access), nil)
                }
                guard answer.status == 429 || answer.status == 503 else { return try response(answer) }
                (outcome, result) = (.overloaded(requested: RetryPolicy.requestedDelay(answer.retryAfter, now: Date())), .success(answer))
            } catch {
                guard let lost = error.outcome else { throw error.failure }
                (outcome, result) = (lost, .failure(error.failure))
            }
            guard !Task.isCancelled, let delay = delay(after: outcome, attempt: attempt, request, deadline: deadline) else {
                let answer = try result.get()
                do throws(ExchangeFailure) { return try response(answer) } catch { throw error.failure }
            }
            try? await Task.sleep(for: delay)
            attempt += 1
        }
    }

    private func hasNewToken() throws(ExchangeFailure) -> Bool {
        do throws(APIFailure) { return try renewToken() } catch { throw ExchangeFailure(error, nil) }
    }

    private func delay(
        after outcome: RetryPolicy.Outcome,
        attempt: Int,
        _ request: APIRequest,
        deadline: ContinuousClock.Instant
    ) -> Duration? {
        let chance = Double.random(in: 0...1)
        guard let delay = policy.delay(after: outcome, attempt: attempt, isRepeatable: request.isRepeatable, chance: chance) else { return nil }
        return ContinuousClock.now + delay < deadline ? delay : nil
    }

    /// An answer as it came over the wire.
    private struct Answer: Sendable {
        var status: Int
        var retryAfter: String?
        var warnings: [String]
        var location: String?
        var body: [UInt8]
    }

    /// - Parameter outcome: nil where trying again can't help.
    private struct ExchangeFailure: Error {
        var failure: APIFailure
        var outcome: RetryPolicy.Outcome?

        init(_ failure: APIFailure, _ outcome: RetryPolicy.Outcome?) {
            self.failure = failure
            self.outcome = outcome
        }
    }

    private func response(_ answer: Answer) throws(ExchangeFailure) -> APIResponse {
        if let body = try? Value(json: answer.body) { return APIResponse(status: answer.status, body: body, warnings: answer.warnings) }
        let text = String(decoding: answer.body.prefix(1024), as: UTF8.self)
        if answer.status == 400, text.contains("HTTP request to an HTTPS server") {
            let message = "\(access.endpoint) speaks TLS: write https:// instead of http:// (\(access.origin))"
            throw ExchangeFailure(APIFailure(.unreachable, message), nil)
        }
        if (300..<400).contains(answer.status) {
            let place = answer.location.map { " to \($0)" } ?? ""
            throw ExchangeFailure(APIFailure(.unreadable, "\(access.url) redirects\(place): is this an API server? (\(access.origin))"), nil)
        }
        // Unknown paths and proxies are answered in plain text.
        guard !(200..<300).contains(answer.status) else {
            throw ExchangeFailure(APIFailure(.unreadable, "\(access.url) answers, but not in JSON: is this an API server? (\(access.origin))"), nil)
        }
        return APIResponse(status: answer.status, body: .string(text), warnings: answer.warnings)
    }

    private func exchange(_ request: APIRequest, deadline: ContinuousClock.Instant) async throws(ExchangeFailure) -> Answer {
        let client: HTTPClient
        let prepared: HTTPClientRequest
        do throws(APIFailure) {
            client = try openClient()
            prepared = try message(request)
        } catch {
            throw ExchangeFailure(error, nil)
        }
        let largest = largestAnswer
        // The client's own deadline ends with the head of the answer; a body that trickles in would have all the time in the world.
        let result = await withTaskGroup(of: Result<Answer, any Error>?.self) { group in
            group.addTask {
                do {
                    let response = try await client.execute(prepared, timeout: .hours(1))
                    let body = try await response.body.collect(upTo: largest)
                    return .success(
                        Answer(
                            status: Int(response.status.code),
                            retryAfter: response.headers.first(name: "Retry-After"),
                            warnings: response.headers["Warning"].map(Words.warning),
                            location: response.headers.first(name: "Location"),
                            body: Array(buffer: body)
                        )
                    )
                } catch {
                    return .failure(error)
                }
            }
            group.addTask {
                try? await Task.sleep(until: deadline, clock: .continuous)
                return nil
            }
            let first = await group.next() ?? nil
            group.cancelAll()
            return first
        }
        switch result {
        case .success(let answer)?: return answer
        case .failure(let error)?:
            if error is NIOTooManyBytesError {
                let limit = largestAnswer >> 20
                throw ExchangeFailure(APIFailure(.unreadable, "\(access.url) answers with more than \(limit) MiB, which is more than is read"), nil)
            }
            throw ExchangeFailure(await failure(error), Words(error, access).outcome)
        case nil:
            if Task.isCancelled { throw ExchangeFailure(APIFailure(.timedOut, "was interrupted"), nil) }
            throw ExchangeFailure(APIFailure(.timedOut, "\(access.endpoint) did not answer within \(timeout.words) (\(access.origin))"), nil)
        }
    }

    func message(_ request: APIRequest) throws(APIFailure) -> HTTPClientRequest {
        var message = HTTPClientRequest(url: access.url + request.target)
        if let token = try currentToken() { message.headers.add(name: "Authorization", value: "Bearer \(token)") }
        message.method = .init(rawValue: request.method.rawValue)
        message.headers.add(name: "Accept", value: "application/json")
        message.headers.add(name: "User-Agent", value: "plumb")
        if let body = request.body {
            message.headers.add(name: "Content-Type", value: request.contentType ?? ContentType.json)
            message.body = .bytes(ByteBuffer(string: body.exposedJSON))
        }
        return message
    }

    func failure(_ error: any Error) async -> APIFailure {
        let words = Words(error, access)
        return words.failure(serverCertificate: await words.needsCertificate ? TLSDiagnosis.serverCertificate(access) : nil)
    }

    private func openClient() throws(APIFailure) -> HTTPClient { try open(\.client, configuration) }

    func openWatchClient() throws(APIFailure) -> HTTPClient { try open(\.watchClient, watchConfiguration) }

    private func open(
        _ place: WritableKeyPath<State, HTTPClient?>,
        _ configuration: @autoclosure () -> HTTPClient.Configuration
    ) throws(APIFailure) -> HTTPClient {
        let client = state.withLock { state -> HTTPClient? in
            if state.isClosed { return nil }
            if let client = state[keyPath: place] { return client }
            let client = HTTPClient(eventLoopGroup: Self.group, configuration: configuration())
            state[keyPath: place] = client
            return client
        }
        guard let client else { throw APIFailure(.unreachable, "the connection to \(access.url) was closed already") }
        return client
    }

    var configuration: HTTPClient.Configuration {
        var configuration = HTTPClient.Configuration(redirectConfiguration: .disallow)
        if access.usesTLS { configuration.tlsConfiguration = access.tls }
        if let other = access.connectHost { configuration.dnsOverride = [access.bareHost: other] }
        configuration.timeout.connect = .nanoseconds(min(timeout, .seconds(10)).nanoseconds)
        configuration.connectionPool.concurrentHTTP1ConnectionsPerHostSoftLimit = 8
        configuration.connectionPool.idleTimeout = .seconds(60)
        // Retries are ours: how often and how long depends on the request.
        configuration.connectionPool.retryConnectionEstablishment = false
        configuration.httpVersion = .http1Only
        return configuration
    }

    /// The token of a pod is renewed on disk long before it expires; reading it once a minute is enough, as client-go does.
    private func currentToken() throws(APIFailure) -> String? {
        switch access.token {
        case nil: return nil
        case .fixed(let text): return text
        case .file(let path):
            let now = ContinuousClock.now
            if let (text, readAt) = state.withLock({ $0.token }), now - readAt < .seconds(60) { return text }
            let text = try readToken(path)
            state.withLock { $0.token = (text, now) }
            return text
        }
    }

    private func readToken(_ path: String) throws(APIFailure) -> String {
        let data: Data
        do { data = try Data(contentsOf: URL(fileURLWithPath: path)) } catch {
            throw APIFailure(.credentials, "the token file \(path) can't be read: \(FileWords.reason(error)) (\(access.origin))")
        }
        let text = String(decoding: data, as: UTF8.self).trimmingCharacters(in: .whitespacesAndNewlines)
        guard !text.isEmpty, ServerAccess.isHeaderText(text) else {
            throw APIFailure(.credentials, "the token file \(path) holds no token (\(access.origin))")
        }
        return text
    }

    /// Whether there is another token in the file than the one that was refused.
    func renewToken() throws(APIFailure) -> Bool {
        guard case .file(let path) = access.token, let used = state.withLock({ $0.token?.text }) else { return false }
        let text = try readToken(path)
        state.withLock { $0.token = (text, ContinuousClock.now) }
        return text != used
    }
}

extension ServerAccess {
    var tls: TLSConfiguration {
        var tls = TLSConfiguration.makeClientConfiguration()
        tls.minimumTLSVersion = .tlsv12
        if let trustRoots { tls.trustRoots = .certificates(trustRoots) }
        if !verifiesServer { tls.certificateVerification = .none }
        tls.certificateChain = clientCertificates.map { .certificate($0) }
        tls.privateKey = clientKey.map { .privateKey($0) }
        return tls
    }
}

extension Duration {
    var nanoseconds: Int64 { components.seconds * 1_000_000_000 + components.attoseconds / 1_000_000_000 }

    /// `30 s`, `0.5 s`
    var words: String {
        let seconds = Double(components.seconds) + Double(components.attoseconds) / 1e18
        return seconds == seconds.rounded() ? "\(Int(seconds)) s" : "\(seconds) s"
    }
}
