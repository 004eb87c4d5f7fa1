import Foundation
import KubernetesAPI
import NIOSSL
import Synchronization
import Testing
import Values

@testable import Kubernetes

/// The driver against a server that does what real ones do on bad days.
@Suite(.timeLimit(.minutes(1)))
struct ConnectionTests {
    private static let ok = #"{"kind":"Status","status":"Success"}"#

    private func access(_ server: ScriptedServer, token: String? = "secret-token") throws -> ServerAccess {
        var access = try #require(ServerAccess(url: "http://127.0.0.1:\(server.port)", origin: "user 'u', context 'c' of /kubeconfig"))
        access.token = token.map { .fixed($0) }
        return access
    }

    private static let quick: RetryPolicy = {
        var policy = RetryPolicy()
        policy.firstDelay = .milliseconds(10)
        return policy
    }()

    /// What came of one request: the status, or the failure.
    private func result(
        of request: APIRequest = APIRequest(.get, "/api"),
        timeout: Duration = .seconds(5),
        largestAnswer: Int = 1 << 20,
        _ script: @escaping @Sendable (ScriptedServer.Request, Int) -> ScriptedServer.Reply
    ) async throws -> (result: Result<APIResponse, APIFailure>, requests: [ScriptedServer.Request]) {
        let server = try await ScriptedServer(script)
        let connection = ClusterConnection(try access(server), timeout: timeout, policy: Self.quick, largestAnswer: largestAnswer)
        let result: Result<APIResponse, APIFailure>
        do throws(APIFailure) { result = .success(try await connection.send(request)) } catch { result = .failure(error) }
        await connection.close()
        await server.close()
        // Nothing that is said gives the token away.
        #expect(!"\(result)".contains("secret-token"))
        return (result, server.requests)
    }

    private func failure(_ result: Result<APIResponse, APIFailure>) -> APIFailure? {
        if case .failure(let failure) = result { failure } else { nil }
    }

    @Test func sendsWhatItIsGiven() async throws {
        let body: Value = ["a": .sensitive(SensitiveValue("shown to the server only"))]
        let request = APIRequest.apply("/x", body: body, fieldManager: "plumb", isForced: false)
        let (result, requests) = try await result(of: request) { _, _ in .answer(201, #"{"a":1}"#, headers: ["Warning": #"299 - "old \"API\"""#]) }
        #expect(try result.get() == APIResponse(status: 201, body: ["a": 1], warnings: [#"old "API""#]))
        let sent = try #require(requests.first)
        #expect(sent.line == "PATCH /x?fieldManager=plumb&fieldValidation=Strict HTTP/1.1")
        #expect(sent.headers["authorization"] == "Bearer secret-token")
        #expect(sent.headers["content-type"] == "application/apply-patch+yaml")
        #expect(sent.body == #"{"a":"shown to the server only"}"#)
    }

    @Test(arguments: [403, 404, 409, 410, 422, 500])
    func otherStatusesAreAnswers(status: Int) async throws {
        let (result, requests) = try await result { _, _ in .answer(status, #"{"kind":"Status","message":"no"}"#) }
        #expect(try result.get().status == status)
        #expect(requests.count == 1)
    }

    @Test func refusedCredentialsNameTheSettings() async throws {
        let (result, requests) = try await result { _, _ in .answer(401, "{}") }
        #expect(failure(result)?.cause == .credentials)
        #expect(failure(result)?.message.contains("the token is wrong or has expired: get a new one (user 'u', context 'c' of /kubeconfig)") == true)
        #expect(requests.count == 1)
    }

    @Test func waitsAsLongAsItIsAskedTo() async throws {
        let started = ContinuousClock.now
        let (result, requests) = try await result(of: APIRequest(.post, "/x", body: [:])) { _, count in
            count == 0 ? .answer(429, "{}", headers: ["Retry-After": "1"]) : .answer(200, Self.ok)
        }
        #expect(try result.get().status == 200)
        #expect(requests.count == 2)
        #expect(ContinuousClock.now - started >= .seconds(1))
    }

    @Test func doesNotWaitBeyondItsTime() async throws {
        let started = ContinuousClock.now
        let (result, requests) = try await result(timeout: .seconds(2)) { _, _ in .answer(503, "away", headers: ["Retry-After": "20"]) }
        #expect(try result.get() == APIResponse(status: 503, body: "away"))
        #expect(requests.count == 1)
        #expect(ContinuousClock.now - started < .seconds(20), "it was asked to wait 20 s, and has 2")
    }

    @Test func overloadEndsAfterSomeTries() async throws {
        let (result, requests) = try await result { _, _ in .answer(429, "{}") }
        #expect(try result.get().status == 429)
        #expect(requests.count == 6)
    }

    @Test func aCutAnswerIsAskedForAgain() async throws {
        let (result, requests) = try await result { _, count in
            count == 0 ? .cut("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"a\"") : .answer(200, Self.ok)
        }
        #expect(try result.get().status == 200)
        #expect(requests.count == 2)
    }

    @Test func aCutChangeIsNotRepeated() async throws {
        let change = APIRequest.mergePatch("/x", body: ["a": 1], fieldManager: "plumb")
        let (result, requests) = try await result(of: change) { _, _ in .cut("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{") }
        #expect(failure(result)?.cause == .unreachable)
        #expect(failure(result)?.message.contains("closed the connection before it had answered") == true)
        #expect(requests.count == 1)
    }

    @Test func anApplyIsRepeatable() async throws {
        let request = APIRequest.apply("/x", body: ["a": 1], fieldManager: "plumb", isForced: false)
        let (result, requests) = try await result(of: request) { _, count in count == 0 ? .cut("") : .answer(200, Self.ok) }
        #expect(try result.get().status == 200)
        #expect(requests.count == 2)
    }

    @Test(arguments: ["", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"a\":"])
    func silenceEndsInTime(start: String) async throws {
        let started = ContinuousClock.now
        let (result, _) = try await result(timeout: .seconds(1)) { _, _ in .stall(start) }
        #expect(failure(result)?.cause == .timedOut)
        #expect(failure(result)?.message.contains("did not answer within 1 s (user 'u', context 'c' of /kubeconfig)") == true)
        #expect(ContinuousClock.now - started < .seconds(20), "the server would be silent for ever")
    }

    @Test func garbageIsNoAnswer() async throws {
        let (noHTTP, _) = try await result { _, _ in .bytes("SSH-2.0-OpenSSH_9.2\r\n\r\n") }
        #expect(failure(noHTTP)?.message.contains("answers, but not in HTTP") == true)
        let (noJSON, _) = try await result { _, _ in .answer(200, "<html>hello</html>") }
        #expect(failure(noJSON)?.cause == .unreadable)
        #expect(failure(noJSON)?.message.contains("answers, but not in JSON") == true)
        let (elsewhere, _) = try await result { _, _ in .answer(302, "", headers: ["Location": "https://login.example.com/"]) }
        #expect(failure(elsewhere)?.message.contains("redirects to https://login.example.com/") == true)
    }

    @Test func aHugeAnswerIsNotRead() async throws {
        let (result, _) = try await result { _, _ in .answer(200, #"{"a":"\#(String(repeating: "x", count: 2 << 20))"}"#) }
        #expect(failure(result)?.cause == .unreadable)
        #expect(failure(result)?.message.contains("more than 1 MiB") == true)
    }

    @Test func nobodyListens() async throws {
        let server = try await ScriptedServer { _, _ in .answer(200, "{}") }
        let access = try access(server)
        await server.close()
        let connection = ClusterConnection(access, timeout: .seconds(5), policy: Self.quick)
        let failure = await #expect(throws: APIFailure.self) { try await connection.send(APIRequest(.get, "/api")) }
        #expect(failure?.message == "can't connect to 127.0.0.1:\(server.port): connection refused (user 'u', context 'c' of /kubeconfig)")
        await connection.close()
    }

    @Test func anUnknownHostIsNamed() async throws {
        let access = try #require(ServerAccess(url: "https://no-such-host.invalid:6443", origin: "context 'c'"))
        let connection = ClusterConnection(access, timeout: .seconds(10), policy: Self.quick)
        let failure = await #expect(throws: APIFailure.self) { try await connection.send(APIRequest(.get, "/api")) }
        #expect(failure?.cause == .unreachable)
        #expect(failure?.message.contains("there is no host of this name") == true)
        await connection.close()
    }

    @Test func tokenFilesAreReadAgain() async throws {
        let path = "\(NSTemporaryDirectory())plumb-token-\(UInt32.random(in: 0...UInt32.max))"
        defer { try? FileManager.default.removeItem(atPath: path) }
        try "old\n".write(toFile: path, atomically: true, encoding: .utf8)
        let server = try await ScriptedServer { request, _ in
            request.headers["authorization"] == "Bearer new" ? .answer(200, Self.ok) : .answer(401, "{}")
        }
        var access = try access(server)
        access.token = .file(path)
        let connection = ClusterConnection(access, timeout: .seconds(5), policy: Self.quick)
        let refused = await #expect(throws: APIFailure.self) { try await connection.send(APIRequest(.get, "/api")) }
        #expect(refused?.message.contains("the token in \(path) is wrong or has expired") == true)
        try "new\n".write(toFile: path, atomically: true, encoding: .utf8)
        // Refused once with the old one, which is cached, and let in with the new one.
        #expect(try await connection.send(APIRequest(.get, "/api")).status == 200)
        await connection.close()
        await server.close()
    }

    @Test func closingIsQuickAndFinal() async throws {
        let server = try await ScriptedServer { _, _ in .stall("") }
        let connection = ClusterConnection(try access(server), timeout: .seconds(30), policy: Self.quick)
        async let pending: APIFailure? = {
            do throws(APIFailure) { _ = try await connection.send(APIRequest(.get, "/api")) } catch { return error }
            return nil
        }()
        try await Task.sleep(for: .milliseconds(200))
        let started = ContinuousClock.now
        await connection.close()
        #expect(ContinuousClock.now - started < .seconds(1))
        #expect(await pending != nil)
        #expect(ContinuousClock.now - started < .seconds(20), "it was asked to wait 20 s, and has 2")
        let late = await #expect(throws: APIFailure.self) { try await connection.send(APIRequest(.get, "/api")) }
        #expect(late?.message.contains("was closed already") == true)
        await server.close()
    }

    @Test func manyRequestsShareAFewConnections() async throws {
        let server = try await ScriptedServer { _, _ in .answer(200, Self.ok) }
        let connection = ClusterConnection(try access(server), timeout: .seconds(10))
        await withTaskGroup(of: Void.self) { group in
            for _ in 0..<200 { group.addTask { _ = try? await connection.send(APIRequest(.get, "/api")) } }
        }
        #expect(server.requests.count == 200)
        await connection.close()
        await server.close()
    }
}

/// What a person is told when the two sides do not trust each other.
@Suite(.timeLimit(.minutes(1)))
struct TrustTests {
    private static let certificates = Result { try Certificates() }

    private func send(
        _ host: String,
        scheme: String = "https",
        server tls: TLSConfiguration?,
        _ change: (inout ServerAccess) throws -> Void = { _ in }
    ) async throws -> Result<APIResponse, APIFailure> {
        let server = try await ScriptedServer(tls: tls) { _, _ in .answer(200, #"{"a":1}"#) }
        var access = try #require(ServerAccess(url: "\(scheme)://\(host):\(server.port)", origin: "context 'c'"))
        access.trustRoots = try NIOSSLCertificate.fromPEMFile(try Self.certificates.get().path("ca.pem"))
        try change(&access)
        let connection = ClusterConnection(access, timeout: .seconds(5))
        let result: Result<APIResponse, APIFailure>
        do throws(APIFailure) { result = .success(try await connection.send(APIRequest(.get, "/api"))) } catch { result = .failure(error) }
        await connection.close()
        await server.close()
        return result
    }

    private func message(_ result: Result<APIResponse, APIFailure>) -> String {
        if case .failure(let failure) = result { "\(failure.cause): \(failure.message)" } else { "\(result)" }
    }

    @Test func aTrustedServerIsTalkedTo() async throws {
        let certificates = try Self.certificates.get()
        for host in ["127.0.0.1", "localhost"] {
            let result = try await send(host, server: try certificates.server("server"))
            #expect(try result.get().status == 200)
        }
    }

    @Test func anUnknownAuthorityIsNotTrusted() async throws {
        let certificates = try Self.certificates.get()
        let result = try await send("127.0.0.1", server: try certificates.server("server")) { access in
            access.trustRoots = try NIOSSLCertificate.fromPEMFile(certificates.path("other.pem"))
        }
        #expect(message(result).hasPrefix("untrusted: the certificate of 127.0.0.1:"))
        #expect(message(result).contains("is not signed by the certificate authority that is named for it"))
    }

    @Test func anExpiredCertificateIsCalledSo() async throws {
        let result = try await send("127.0.0.1", server: try Self.certificates.get().server("expired"))
        #expect(message(result).contains("can't be trusted: it expired on 2020-02-01"))
    }

    @Test func anotherNameIsNamed() async throws {
        let result = try await send("localhost", server: try Self.certificates.get().server("elsewhere"))
        #expect(message(result).contains("is not for localhost but for api.example.com, 192.0.2.9. Use one of these"))
        let byAddress = try await send("127.0.0.1", server: try Self.certificates.get().server("elsewhere"))
        #expect(message(byAddress).contains("is not for 127.0.0.1 but for"))
    }

    @Test func tlsServerNameIsWhatIsChecked() async throws {
        let result = try await send("api.example.com", server: try Self.certificates.get().server("elsewhere")) { access in
            access.connectHost = "127.0.0.1"
        }
        #expect(try result.get().status == 200)
    }

    @Test func anUncheckedServerIsTalkedTo() async throws {
        let result = try await send("127.0.0.1", server: try Self.certificates.get().server("expired")) { access in
            access.trustRoots = nil
            access.verifiesServer = false
        }
        #expect(try result.get().status == 200)
    }

    @Test func plainHTTPOnATLSPort() async throws {
        let noTLS = try await send("127.0.0.1", server: nil)
        #expect(message(noTLS).hasPrefix("unreachable: 127.0.0.1:"))
        #expect(message(noTLS).contains("does not speak TLS. If it is a plain HTTP port, write http:// in 'server'"))
        let certificates = try Self.certificates.get()
        let noHTTP = try await send("127.0.0.1", scheme: "http", server: try certificates.server("server"))
        #expect(message(noHTTP).hasPrefix("unreachable: ") || message(noHTTP).contains("not in HTTP"))
    }

    @Test func ourCertificateIsRefused() async throws {
        let certificates = try Self.certificates.get()
        let tls = try certificates.server("server", wantsClientCertificate: true)
        let without = try await send("127.0.0.1", server: tls)
        #expect(message(without).contains("the server wants a client certificate"))
        let foreign = try await send("127.0.0.1", server: tls) { access in
            access.clientCertificates = try NIOSSLCertificate.fromPEMFile(certificates.path("other.pem"))
            access.clientKey = try NIOSSLPrivateKey(file: certificates.path("other.key"), format: .pem)
        }
        #expect(message(foreign).contains("refused the client certificate: "))
        let good = try await send("127.0.0.1", server: tls) { access in
            access.clientCertificates = try NIOSSLCertificate.fromPEMFile(certificates.path("client.pem"))
            access.clientKey = try NIOSSLPrivateKey(file: certificates.path("client.key"), format: .pem)
        }
        #expect(try good.get().status == 200)
    }
}
