import Crypto
import CryptoExtras
import Foundation
import Testing
import Values

@testable import Forge

@Suite struct AnswerRulesTests {
    private static let now = Date(timeIntervalSince1970: 1_800_000_000)
    private let rules = AnswerRules(service: .github, origin: "https://git.example")
    private let request = ForgeRequest(.get, "/user")

    private func verdict(_ status: Int, _ headers: [String: String] = [:], _ body: Value? = ["message": "no"]) -> AnswerRules.Verdict {
        rules.verdict(on: ForgeAnswer(status: status, headers: headers, body: body), to: request, at: Self.now)
    }

    @Test(arguments: [
        (400, ForgeFailure.Cause.invalid), (401, .unauthorized), (403, .forbidden), (404, .notFound), (405, .invalid), (409, .invalid),
        (410, .notFound),
        (413, .invalid), (422, .invalid), (423, .forbidden), (304, .unavailable),
    ])
    func refusesForGood(_ status: Int, _ cause: ForgeFailure.Cause) throws {
        guard case .refused(let failure) = verdict(status) else {
            Issue.record("\(verdict(status))")
            return
        }
        #expect(failure.cause == cause)
        #expect(failure.message.contains("\(status)") && failure.message.contains("https://git.example") && failure.message.hasSuffix(": no"))
    }

    @Test func tellsPatienceFromRefusal() {
        func pause(_ status: Int, _ headers: [String: String], _ message: String = "no") -> Duration?? {
            if case .later(let pause, let failure) = verdict(status, headers, ["message": .string(message)]) {
                #expect(failure.isPassing)
                return .some(pause)
            }
            return nil
        }
        #expect(pause(429, [:]) == .some(nil))
        #expect(pause(429, ["retry-after": "7"]) == .seconds(7))
        #expect(pause(403, ["retry-after": "60"]) == .seconds(60))
        #expect(pause(503, ["retry-after": "Fri, 15 Jan 2027 08:00:30 GMT"]) == .seconds(30))
        #expect(pause(403, ["x-ratelimit-remaining": "0", "x-ratelimit-reset": "1800000100"]) == .seconds(101))
        #expect(pause(429, ["ratelimit-remaining": "0", "ratelimit-reset": "1800000010"]) == .seconds(11))
        // A clock that is ahead of the forge's.
        #expect(pause(403, ["x-ratelimit-remaining": "0", "x-ratelimit-reset": "1799999000"]) == .seconds(0))
        #expect(pause(403, ["x-ratelimit-remaining": "12", "x-ratelimit-reset": "1800000100"]) == nil)
        #expect(pause(403, [:], "You have exceeded a secondary rate limit.") == .seconds(60))
        #expect(pause(403, ["retry-after": "99999999999"]) == .seconds(86_400))
        #expect(pause(403, ["retry-after": "-5"]) == .seconds(0))
        #expect(pause(403, ["retry-after": "soon"]) == nil)
        for status in [500, 502, 503, 504, 599] {
            guard case .broken(let failure) = verdict(status) else {
                Issue.record("\(status)")
                continue
            }
            #expect(failure.cause == .unavailable)
        }
    }

    @Test func knowsASuccess() {
        #expect(verdict(200, [:], .array([])) == .fine)
        #expect(verdict(204, [:], .null) == .fine)
        guard case .refused(let failure) = verdict(200, [:], nil) else {
            Issue.record("a page of HTML is no answer")
            return
        }
        #expect(failure.cause == .unavailable && failure.fix?.contains("github") == true)
    }

    @Test func repeatsNothingHarmful() {
        guard
            case .refused(let failure) = verdict(
                422,
                [:],
                ["message": "a\u{1B}[31m\u{202E}b\nc", "errors": [["message": "d"], ["code": "e"], "f", "g"]]
            )
        else {
            Issue.record("no refusal")
            return
        }
        #expect(failure.message.hasSuffix("a·[31m·b·c; d; e; f"))
        guard case .refused(let long) = verdict(400, [:], ["message": .string(String(repeating: "x", count: 10_000))]) else { return }
        #expect(long.message.count < 500)
    }

    @Test func waitsLongerEachTime() {
        let waits = (1...20).map { rules.backoff($0, chance: 0) }
        #expect(waits.prefix(3) == [.milliseconds(500), .seconds(1), .seconds(2)])
        #expect(waits.last == .seconds(20))
        #expect(rules.spread(.seconds(4), chance: 1) == .seconds(5))
        #expect(rules.spread(.seconds(4), chance: 0) == .seconds(4))
    }

    @Test func writesNoFasterThanItMay() {
        var pace = WritePace(perMinute: 3)
        let now = Duration.seconds(1000)
        #expect((0..<3).map { _ in pace.turn(at: now) } == [.zero, .zero, .zero])
        #expect(pace.turn(at: now) == .seconds(60))
        #expect(pace.turn(at: now + .seconds(10)) == .seconds(50))
        #expect(pace.turn(at: now + .seconds(200)) == .zero)
        var starts: [Duration] = []
        var busy = WritePace(perMinute: 5)
        for second in 0..<100 { starts.append(.seconds(second) + busy.turn(at: .seconds(second))) }
        for (index, start) in starts.enumerated().dropFirst(5) { #expect(start - starts[index - 5] >= .seconds(60)) }
    }
}

@Suite struct ForgeCredentialsTests {
    private func folder() throws -> String {
        let folder = "\(NSTemporaryDirectory())plumb-forge-\(UInt64.random(in: 0...UInt64.max))"
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        return folder
    }

    @Test func printsNoToken() throws {
        let folder = try folder()
        defer { try? FileManager.default.removeItem(atPath: folder) }
        try "hunter2hunter2\n".write(toFile: "\(folder)/token", atomically: true, encoding: .utf8)
        let fixed = try ForgeCredentials.token(variable: "T", environment: ["T": "hunter2hunter2"])
        for credentials in [fixed, try .token(file: "\(folder)/token")] {
            var dumped = ""
            dump(credentials, to: &dumped)
            for text in ["\(credentials)", String(reflecting: credentials), dumped] { #expect(!text.contains("hunter2") && !text.isEmpty) }
        }
        let failure = #expect(throws: ForgeFailure.self) { try ForgeCredentials.token(variable: "T", environment: ["T": "hunter2\nX: y"]) }
        #expect(failure?.cause == .unauthorized && failure?.description.contains("hunter2") == false)
    }

    @Test func refusesFilesWithoutAToken() throws {
        let folder = try folder()
        defer { try? FileManager.default.removeItem(atPath: folder) }
        for (name, text) in [("empty", " \n"), ("two", "a\nb"), ("long", String(repeating: "a", count: 20_000)), ("binary", "a\u{0}b")] {
            try text.write(toFile: "\(folder)/\(name)", atomically: true, encoding: .utf8)
            let failure = #expect(throws: ForgeFailure.self, "\(name)") { try ForgeCredentials.token(file: "\(folder)/\(name)") }
            #expect(failure?.fix != nil)
            #expect(throws: ForgeFailure.self) { try ForgeCredentials.app(id: "1", keyFile: "\(folder)/\(name)") }
        }
        #expect(throws: ForgeFailure.self) { try ForgeCredentials.token(file: "\(folder)/none") }
        #expect(throws: ForgeFailure.self) { try ForgeCredentials.token(variable: "T", environment: [:]) }
        #expect(throws: ForgeFailure.self) { try ForgeCredentials.app(id: "1", keyFile: "\(folder)/none") }
    }

    @Test func signsAsGitHubWantsIt() throws {
        let key = try _RSA.Signing.PrivateKey(keySize: .bits2048)
        let token = try AppKey(id: "12345", installation: nil, key: key).webToken(at: 1_800_000_000)
        let parts = token.split(separator: ".").map(String.init)
        try #require(parts.count == 3)
        func decoded(_ text: String) throws -> Data {
            let base64 = text.replacing("-", with: "+").replacing("_", with: "/")
            return try #require(Data(base64Encoded: base64 + String(repeating: "=", count: (4 - base64.count % 4) % 4)))
        }
        #expect(try Value(json: decoded(parts[0])) == ["alg": "RS256", "typ": "JWT"])
        #expect(try Value(json: decoded(parts[1])) == ["iss": "12345", "iat": 1_799_999_940, "exp": 1_800_000_540])
        let signature = _RSA.Signing.RSASignature(rawRepresentation: try decoded(parts[2]))
        let content = Data("\(parts[0]).\(parts[1])".utf8)
        #expect(key.publicKey.isValidSignature(signature, for: SHA256.hash(data: content), padding: .insecurePKCS1v1_5))
        #expect(token.allSatisfy { $0.isLetter || $0.isNumber || "-_.".contains($0) })
    }
}
