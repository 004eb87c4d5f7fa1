import AsyncHTTPClient
import Foundation
import NIOCore
import NIOHTTP1
import NIOPosix
import NIOSSL
import Synchronization
import Values

/// Sends one request once, and says what came back.
///
/// - Guarantees: ends in time, whatever the forge does; reads no more than the limit; follows redirects on the same host only, so that the token goes
///   nowhere else.
final class ForgeTransport: Sendable {
    /// No answer.
    struct Loss: Error, Hashable, Sendable {
        enum Certainty: Hashable, Sendable {
            /// The request did not leave this machine.
            case notSent
            /// It may have been carried out.
            case unknown
            /// It will be like this the next time, too.
            case hopeless
        }

        var message: String
        var certainty: Certainty
        var fix: String?
        /// The answer was longer than is read.
        var isTooLarge = false
    }

    let endpoint: ForgeEndpoint
    /// Of one exchange.
    private let timeout: Duration
    private let largestAnswer: Int
    private let authority: [NIOSSLCertificate]
    private let state = Mutex(State())

    private struct State {
        /// Made by the first request: one that is never used needs no closing.
        var client: HTTPClient?
        var isClosed = false
    }

    private static let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
    private static let mostRedirects = 3

    /// - Parameter authorityFile: PEM, trusted in addition to what the system trusts.
    init(_ endpoint: ForgeEndpoint, authorityFile: String?, timeout: Duration, largestAnswer: Int) throws(ForgeFailure) {
        self.endpoint = endpoint
        self.timeout = timeout
        self.largestAnswer = largestAnswer
        guard let file = authorityFile else {
            authority = []
            return
        }
        guard let certificates = try? NIOSSLCertificate.fromPEMFile(file), !certificates.isEmpty else {
            let message = "the certificate authority \(file.printable(limit: 200)) can't be read"
            throw ForgeFailure(.invalid, message, fix: "It must be PEM, and readable for the user that runs plumb.")
        }
        authority = certificates
    }

    deinit {
        // Not closed: the client insists on being shut down, which needs no waiting here.
        state.withLock { $0.client }?.shutdown { _ in }
    }

    func close() async {
        let client = state.withLock { state in
            state.isClosed = true
            defer { state.client = nil }
            return state.client
        }
        try? await client?.shutdown()
    }

    /// - Parameter authorization: the header's value.
    func exchange(
        _ request: ForgeRequest,
        _ service: ForgeService,
        authorization: String,
        until end: ContinuousClock.Instant
    ) async -> Result<ForgeAnswer, Loss> {
        guard let client = openClient() else { return .failure(Loss(message: "the connection was closed already", certainty: .hopeless)) }
        let deadline = min(end, .now + timeout)
        let largest = largestAnswer
        // The client's own deadline ends with the head of the answer; a body that trickles in would have all the time in the world.
        let result = await withTaskGroup(of: Result<ForgeAnswer, any Error>?.self) { group in
            group.addTask { await self.answer(request, service, authorization, client, largest) }
            group.addTask {
                try? await Task.sleep(until: deadline, clock: .continuous)
                return nil
            }
            let first = await group.next() ?? nil
            group.cancelAll()
            return first
        }
        switch result {
        case .success(let answer)?: return .success(answer)
        case .failure(let error as Loss)?: return .failure(error)
        case .failure(let error)?: return .failure(Self.loss(error, endpoint, largestAnswer))
        case nil:
            let message = Task.isCancelled ? "was interrupted" : "\(endpoint.origin) did not answer in time"
            return .failure(Loss(message: message, certainty: .unknown))
        }
    }

    private func answer(
        _ request: ForgeRequest,
        _ service: ForgeService,
        _ authorization: String,
        _ client: HTTPClient,
        _ largest: Int
    ) async -> Result<ForgeAnswer, any Error> {
        var target = endpoint.root + request.target
        do {
            for _ in 0...Self.mostRedirects {
                let response = try await client.execute(message(request, target, service, authorization), timeout: .hours(1))
                let status = Int(response.status.code)
                let follows = [301, 307, 308].contains(status) || ([302, 303].contains(status) && request.method == .get)
                if follows, let location = response.headers.first(name: "Location") {
                    guard let next = endpoint.target(ofRedirect: location, from: target) else {
                        let message =
                            "\(endpoint.origin) redirects to \(location.printable(limit: 200)), where Plumb does not follow: its token is not for others"
                        return .failure(
                            Loss(message: message, certainty: .hopeless, fix: "Give the forge's address, or the repository's name, of today.")
                        )
                    }
                    // Whatever is in it, the connection is free for the next request only once it was read.
                    _ = try await response.body.collect(upTo: 1 << 20)
                    target = next
                    continue
                }
                let body = try await response.body.collect(upTo: largest)
                var headers: [String: String] = [:]
                for header in response.headers where ForgeAnswer.knownHeaders.contains(header.name.lowercased()) {
                    let name = header.name.lowercased()
                    headers[name] = headers[name].map { "\($0), \(header.value)" } ?? header.value
                }
                let value = body.readableBytes == 0 ? Value.null : try? Value(json: body.readableBytesView)
                return .success(ForgeAnswer(status: status, headers: headers, body: value))
            }
            let message = "\(endpoint.origin) redirects in a circle"
            return .failure(Loss(message: message, certainty: .hopeless, fix: "Give the repository's name of today."))
        } catch {
            return .failure(error)
        }
    }

    private func message(_ request: ForgeRequest, _ target: String, _ service: ForgeService, _ authorization: String) -> HTTPClientRequest {
        var message = HTTPClientRequest(url: endpoint.origin + target)
        message.method = .init(rawValue: request.method.rawValue)
        message.headers.add(name: "Accept", value: service == .github ? "application/vnd.github+json" : "application/json")
        message.headers.add(name: "Authorization", value: authorization)
        message.headers.add(name: "User-Agent", value: "plumb")
        if service == .github { message.headers.add(name: "X-GitHub-Api-Version", value: "2022-11-28") }
        if let body = request.body {
            message.headers.add(name: "Content-Type", value: "application/json")
            message.body = .bytes(ByteBuffer(string: body.exposedJSON))
        }
        return message
    }

    private func openClient() -> HTTPClient? {
        state.withLock { state in
            if state.isClosed { return nil }
            if let client = state.client { return client }
            let client = HTTPClient(eventLoopGroup: Self.group, configuration: configuration)
            state.client = client
            return client
        }
    }

    private var configuration: HTTPClient.Configuration {
        var tls = TLSConfiguration.makeClientConfiguration()
        tls.minimumTLSVersion = .tlsv12
        if !authority.isEmpty { tls.additionalTrustRoots = [.certificates(authority)] }
        var configuration = HTTPClient.Configuration(redirectConfiguration: .disallow)
        configuration.tlsConfiguration = tls
        configuration.timeout.connect = .nanoseconds(min(timeout, .seconds(10)).nanoseconds)
        configuration.connectionPool.concurrentHTTP1ConnectionsPerHostSoftLimit = 4
        configuration.connectionPool.idleTimeout = .seconds(30)
        // Retries are ours: how often and how long depends on the request.
        configuration.connectionPool.retryConnectionEstablishment = false
        configuration.httpVersion = .http1Only
        return configuration
    }

    /// In plain words, and whether it can have been carried out.
    static func loss(_ error: any Error, _ endpoint: ForgeEndpoint, _ largest: Int) -> Loss {
        let origin = endpoint.origin
        func unconnected(_ why: String) -> Loss { Loss(message: "can't connect to \(origin): \(why)", certainty: .notSent) }
        let closed = Loss(message: "\(origin) closed the connection before it had answered", certainty: .unknown)
        func untrusted(_ why: String) -> Loss {
            let fix = "If the forge has a certificate authority of its own, name its file."
            return Loss(message: "no TLS connection to \(origin): \(why)", certainty: .hopeless, fix: fix)
        }
        switch error {
        case is NIOTooManyBytesError:
            return Loss(
                message: "\(origin) answers with more than \(largest >> 20) MiB, which is more than is read",
                certainty: .hopeless,
                isTooLarge: true
            )
        case let error as NIOConnectionError:
            if error.dnsAError != nil, error.dnsAAAAError != nil { return unconnected("there is no host of this name") }
            return unconnected(error.connectionErrors.first.map { reason($0.error) } ?? "no address")
        case let error as SocketAddressError: return unconnected(reason(error))
        case let error as ChannelError:
            if case .connectTimeout = error { return unconnected("no answer") }
            return closed
        case let error as IOError:
            return [ECONNREFUSED, EHOSTUNREACH, ENETUNREACH].contains(error.errnoCode) ? unconnected(reason(error)) : closed
        case let error as HTTPClientError:
            switch error {
            case .connectTimeout, .tlsHandshakeTimeout, .getConnectionFromPoolTimeout: return unconnected("no answer")
            case .remoteConnectionClosed, .uncleanShutdown, .readTimeout, .writeTimeout, .deadlineExceeded, .cancelled: return closed
            default: return Loss(message: "the connection to \(origin) failed: \(error)", certainty: .unknown)
            }
        case let error as NIOSSLExtraError:
            return untrusted(error == .failedToValidateHostname ? "its certificate is for other names" : "\(error)")
        case let error as NIOSSLError:
            if case .handshakeFailed(.sslError(let stack)) = error { return untrusted(words(stack)) }
            return closed
        case let error as BoringSSLError:
            if case .sslError(let stack) = error { return untrusted(words(stack)) }
            return untrusted("\(error)")
        case let error as HTTPParserError:
            // The end where there should have been more.
            if error == .invalidEOFState { return closed }
            return Loss(message: "\(origin) answers, but not in HTTP", certainty: .hopeless, fix: "Is this the forge's address?")
        default: return Loss(message: "the connection to \(origin) failed: \(error)", certainty: .unknown)
        }
    }

    private static func words(_ stack: NIOBoringSSLErrorStack) -> String {
        let text = stack.map(\.description).joined(separator: "; ")
        if text.contains("CERTIFICATE_VERIFY_FAILED") { return "its certificate can't be trusted" }
        if text.contains("WRONG_VERSION_NUMBER") || text.contains("HTTP_REQUEST") { return "it does not speak TLS" }
        return text
    }

    private static func reason(_ error: any Error) -> String {
        switch error {
        case let error as IOError: String(cString: strerror(error.errnoCode)).lowercased()
        case let error as ChannelError: if case .connectTimeout = error { "no answer" } else { "\(error)" }
        case is SocketAddressError: "there is no host of this name"
        default: "\(error)"
        }
    }
}

extension Duration {
    fileprivate var nanoseconds: Int64 { components.seconds * 1_000_000_000 + components.attoseconds / 1_000_000_000 }
}
