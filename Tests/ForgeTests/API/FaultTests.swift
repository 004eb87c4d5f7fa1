import Foundation
import NIOSSL
import Testing
import Values

@testable import Forge

@Suite struct ForgeFaultTests {
    @Test(arguments: [
        (401, ForgeFailure.Cause.unauthorized), (403, .forbidden), (404, .notFound), (410, .notFound), (422, .invalid), (400, .invalid),
    ])
    func saysWhatIsRefused(_ status: Int, _ cause: ForgeFailure.Cause) async throws {
        for service in ForgeService.allCases {
            try await Pair.with(service) { pair async throws in
                pair.double.change { $0.standing = { $0.method == "POST" ? .answer(status) : nil } }
                let failure = await Pair.failure { () throws(ForgeFailure) in try await pair.client.publish(comment: "x", on: 3) }
                #expect(failure?.cause == cause)
                #expect(failure?.isPassing == false)
                #expect(failure?.description.contains("s3cret") == false)
                // Once is enough.
                #expect(pair.double.asked.count { $0.method == "POST" } == 1)
            }
        }
    }

    @Test(arguments: ForgeService.allCases)
    func goesOnAfterABadMoment(_ service: ForgeService) async throws {
        try await Pair.with(service) { pair async throws in
            let faults: [ForgeDouble.Fault] = [
                .answer(429, headers: ["Retry-After": "0"]), .answer(500, "<html>"), .cut(done: false), .half(done: false),
            ]
            pair.double.change { $0.faults = faults }
            #expect(try await pair.client.publish(comment: "x", on: 3) == .created)
            #expect(pair.double.comments.count == 1)
            let failure = pair.double.asked.count
            #expect(failure == 3 + faults.count)
        }
    }

    @Test(arguments: [
        ForgeDouble.Fault.answer(503), .answer(429, headers: ["Retry-After": "0"]), .cut(done: false), .half(done: false),
        .answer(403, headers: ["Retry-After": "0"]),
    ])
    func givesUpByName(_ fault: ForgeDouble.Fault) async throws {
        try await Pair.with(.github) { pair async throws in
            pair.double.change { $0.standing = { _ in fault } }
            let failure = await Pair.failure { () throws(ForgeFailure) in
                try await pair.client.setStatus(ReportStatus(.success, "x"), on: Sender.commit)
            }
            #expect(failure?.isPassing == true)
            #expect(pair.double.asked.count == 5)
        }
    }

    @Test(arguments: [
        ["Retry-After": "3600"], ["X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "4000000000"],
    ])
    func waitsForNobodyForAnHour(_ headers: [String: String]) async throws {
        try await Pair.with(.github) { pair async throws in
            pair.double.change { $0.faults = [.answer(403, headers: headers)] }
            let status = ReportStatus(.success, "x")
            let failure = await Pair.failure { () throws(ForgeFailure) in try await pair.client.setStatus(status, on: Sender.commit) }
            #expect(failure?.cause == .rateLimited)
            #expect((failure?.retryAfter ?? .zero) >= .seconds(3600))
            // And asks nothing more until then.
            let again = await Pair.failure { () throws(ForgeFailure) in try await pair.client.setStatus(status, on: Sender.commit) }
            #expect(again?.cause == .rateLimited)
            #expect((again?.retryAfter ?? .zero) > .seconds(3000))
            #expect(pair.double.asked.count == 1)
        }
    }

    /// The last request of the hour succeeds, and is the last.
    @Test func keepsStillWhenNothingIsLeft() async throws {
        try await Pair.with(.gitlab) { pair async throws in
            pair.double.change { $0.headers = ["RateLimit-Remaining": "0", "RateLimit-Reset": "4000000000"] }
            #expect(try await pair.client.setStatus(ReportStatus(.success, "x"), on: Sender.commit) == .created)
            let failure = await Pair.failure { () throws(ForgeFailure) in
                try await pair.client.setStatus(ReportStatus(.success, "y"), on: Sender.commit)
            }
            #expect(failure?.cause == .rateLimited)
            #expect(pair.double.asked.count == 1)
        }
    }

    @Test func keepsItsPace() async throws {
        let options = Pair.options { $0.writesPerMinute = 3 }
        try await Pair.with(.github, options) { pair async throws in
            for number in 0..<3 { #expect(try await pair.client.setStatus(ReportStatus(.success, "\(number)"), on: Sender.commit) == .created) }
            let hasty = try Pair.client(of: pair.double, Pair.options { ($0.writesPerMinute, $0.patience) = (1, .seconds(30)) })
            #expect(try await hasty.setStatus(ReportStatus(.success, "a"), on: Sender.commit) == .created)
            let failure = await Pair.failure { () throws(ForgeFailure) in
                try await hasty.setStatus(ReportStatus(.success, "b"), on: Sender.commit)
            }
            #expect(failure?.cause == .rateLimited)
            await hasty.close()
        }
    }

    @Test(arguments: [ForgeDouble.Fault.stall(done: false), .stall(done: true), .trickle])
    func endsInTime(_ fault: ForgeDouble.Fault) async throws {
        let options = Pair.options { ($0.timeout, $0.patience) = (.milliseconds(200), .seconds(2)) }
        try await Pair.with(.forgejo, options) { pair async throws in
            pair.double.change { $0.standing = { _ in fault } }
            let start = ContinuousClock.now
            let failure = await Pair.failure { () throws(ForgeFailure) in try await pair.client.publish(comment: "x", on: 3) }
            #expect(failure?.cause == .unavailable)
            #expect(start.duration(to: .now) < .seconds(20))
        }
    }

    @Test func canBeInterrupted() async throws {
        try await Pair.with(.gitea) { pair async throws in
            pair.double.change { $0.standing = { _ in .stall(done: false) } }
            let client = pair.client
            let call = Task { () throws -> Published in try await client.publish(comment: "x", on: 3) }
            while pair.double.asked.isEmpty { try await Task.sleep(for: .milliseconds(2)) }
            call.cancel()
            let start = ContinuousClock.now
            guard case .failure(let error) = await call.result else {
                Issue.record("succeeded")
                return
            }
            #expect((error as? ForgeFailure)?.cause == .unavailable)
            #expect(start.duration(to: .now) < .seconds(10))
        }
    }

    @Test(arguments: ["<html>Sign in</html>", "{", "null", "[1,2", "7", #"{"a":1}"#])
    func takesNoOtherPageForAList(_ text: String) async throws {
        try await Pair.with(.gitlab) { pair async throws in
            pair.double.change { $0.standing = { $0.target.contains("/notes") ? .body(text) : nil } }
            let failure = await Pair.failure { () throws(ForgeFailure) in try await pair.client.publish(comment: "x", on: 3) }
            #expect(failure?.cause == .unavailable)
            #expect(pair.double.asked.allSatisfy { $0.method == "GET" })
        }
    }

    /// A thread that somebody fills with megabytes.
    @Test(arguments: [ForgeService.github, .gitlab])
    func readsLargeThreadsInSmallPages(_ service: ForgeService) async throws {
        try await Pair.with(service, Pair.options { $0.largestAnswer = 50_000 }) { pair async throws in
            pair.double.change { world in
                world.comments = (1...50).map { ForgeDouble.Text(id: $0, login: "person", body: String(repeating: "x", count: 10_000)) }
                world.comments.append(ForgeDouble.Text(id: 60, login: world.login, body: "\(Pair.marker)\nold"))
            }
            #expect(try await pair.client.publish(comment: "new", on: 3) == .updated)
        }
    }

    @Test func readsNoMoreThanItMay() async throws {
        try await Pair.with(.gitea, Pair.options { $0.largestAnswer = 50_000 }) { pair async throws in
            pair.double.change { $0.comments = [ForgeDouble.Text(id: 1, login: "person", body: String(repeating: "x", count: 60_000))] }
            let failure = await Pair.failure { () throws(ForgeFailure) in try await pair.client.publish(comment: "new", on: 3) }
            #expect(failure?.message.contains("more than is read") == true)
            #expect(pair.double.comments.count == 1)
        }
    }

    /// It may be on one of the pages that were not read.
    @Test func createsNothingUnseen() async throws {
        try await Pair.with(.github, Pair.options { $0.mostPages = 3 }) { pair async throws in
            pair.double.change {
                $0.largestPage = 2
                $0.comments = (1...9).map { ForgeDouble.Text(id: $0, login: "person", body: "x") }
            }
            let failure = await Pair.failure { () throws(ForgeFailure) in try await pair.client.publish(comment: "new", on: 3) }
            #expect(failure?.cause == .invalid)
            #expect(pair.double.comments.count == 9)
        }
    }

    @Test func followsARename() async throws {
        try await Pair.with(.github) { pair async throws in
            pair.double.change { $0.oldName = "old/name" }
            let client = try Pair.client(of: pair.double, repository: "old/name")
            #expect(try await client.publish(comment: "one", on: 3) == .created)
            #expect(try await client.publish(comment: "two", on: 3) == .updated)
            #expect(pair.double.comments.map(\.body) == ["\(Pair.marker)\ntwo"])
            await client.close()
        }
    }

    @Test func takesItsTokenNowhereElse() async throws {
        let elsewhere = try await ForgeDouble(.gitea)
        try await Pair.with(.gitea) { pair async throws in
            pair.double.change { $0.redirect = "\(elsewhere.url)/api/v1/user" }
            let failure = await Pair.failure { () throws(ForgeFailure) in try await pair.client.publish(comment: "one", on: 3) }
            #expect(failure?.cause == .invalid)
            #expect(failure?.message.contains("its token is not for others") == true)
            pair.double.change { $0.redirect = "/api/v1/user" }
            let circle = await Pair.failure { () throws(ForgeFailure) in try await pair.client.publish(comment: "one", on: 3) }
            #expect(circle?.message.contains("in a circle") == true)
        }
        #expect(elsewhere.asked.isEmpty)
        await elsewhere.close()
    }

    @Test func readsTheTokenAgain() async throws {
        let file = "\(NSTemporaryDirectory())plumb-token-\(UInt64.random(in: 0...UInt64.max))"
        defer { try? FileManager.default.removeItem(atPath: file) }
        let double = try await ForgeDouble(.gitlab)
        try "\(double.change { $0.token })\n".write(toFile: file, atomically: true, encoding: .utf8)
        let client = try Pair.client(of: double, credentials: .token(file: file))
        #expect(try await client.setStatus(ReportStatus(.success, "a"), on: Sender.commit) == .created)
        double.change { $0.token = "another" }
        let failure = await Pair.failure { () throws(ForgeFailure) in
            try await client.setStatus(ReportStatus(.success, "b"), on: Sender.commit)
        }
        #expect(failure?.cause == .unauthorized)
        #expect(failure?.fix?.contains("'api'") == true)
        try "another\n".write(toFile: file, atomically: true, encoding: .utf8)
        #expect(try await client.setStatus(ReportStatus(.success, "b"), on: Sender.commit) == .created)
        await client.close()
        await double.close()
    }

    /// Comments of the account before are not ours any more, and there is one of the new one's, however often it is said.
    @Test func aTokenOfAnotherAccountFindsItsOwn() async throws {
        let file = "\(NSTemporaryDirectory())plumb-token-\(UInt64.random(in: 0...UInt64.max))"
        defer { try? FileManager.default.removeItem(atPath: file) }
        let double = try await ForgeDouble(.gitea)
        try "\(double.change { $0.token })\n".write(toFile: file, atomically: true, encoding: .utf8)
        let client = try Pair.client(of: double, credentials: .token(file: file))
        #expect(try await client.publish(comment: "one", on: 3) == .created)
        double.change { ($0.token, $0.login) = ("another", "other-bot") }
        try "another\n".write(toFile: file, atomically: true, encoding: .utf8)
        #expect(try await client.setStatus(ReportStatus(.success, "a"), on: Sender.commit) == .created)
        #expect(try await client.publish(comment: "two", on: 3) == .created)
        await client.forget()
        #expect(try await client.publish(comment: "three", on: 3) == .updated)
        #expect(double.comments.map(\.login) == ["plumb-bot", "other-bot"])
        await client.close()
        await double.close()
    }

    @Test func saysThatNobodyIsThere() async throws {
        let double = try await ForgeDouble(.gitea)
        await double.close()
        let client = try Pair.client(of: double)
        let failure = await Pair.failure { () throws(ForgeFailure) in
            try await client.setStatus(ReportStatus(.success, "a"), on: Sender.commit)
        }
        #expect(failure?.cause == .unavailable)
        #expect(failure?.message == "can't connect to \(double.url): connection refused")
        await client.close()
    }

    @Test func trustsItsOwnAuthority() async throws {
        let folder = "\(NSTemporaryDirectory())plumb-forge-tls-\(UInt64.random(in: 0...UInt64.max))"
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/openssl")
        process.arguments = [
            "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "10", "-subj", "/CN=forge", "-addext",
            "subjectAltName=IP:127.0.0.1", "-keyout", "\(folder)/key.pem", "-out", "\(folder)/cert.pem",
        ]
        process.standardError = FileHandle.nullDevice
        try process.run()
        process.waitUntilExit()
        let tls = TLSConfiguration.makeServerConfiguration(
            certificateChain: try NIOSSLCertificate.fromPEMFile("\(folder)/cert.pem").map { .certificate($0) },
            privateKey: .privateKey(try NIOSSLPrivateKey(file: "\(folder)/key.pem", format: .pem))
        )
        let double = try await ForgeDouble(.gitea, tls: tls)
        let url = "https://127.0.0.1:\(double.port)"
        let status = ReportStatus(.success, "a")
        let trusting = try Pair.client(of: double, url: url, Pair.options { $0.authorityFile = "\(folder)/cert.pem" })
        #expect(try await trusting.setStatus(status, on: Sender.commit) == .created)
        let strict = try Pair.client(of: double, url: url)
        let failure = await Pair.failure { () throws(ForgeFailure) in try await strict.setStatus(status, on: Sender.commit) }
        #expect(failure?.message.contains("certificate can't be trusted") == true)
        #expect(failure?.fix?.contains("certificate authority") == true)
        #expect(double.asked.count == 1)
        #expect(throws: ForgeFailure.self) { try Pair.client(of: double, url: url, Pair.options { $0.authorityFile = "\(folder)/key.pem" }) }
        for client in [trusting, strict] { await client.close() }
        await double.close()
    }
}

/// Whatever goes wrong, in whatever order: at most one comment, one open issue, and the right ones once the forge is well again.
@Suite struct ForgeReportPropertyTests {
    private static func fault(_ dice: inout Dice) -> ForgeDouble.Fault? {
        switch Int.random(in: 0..<14, using: &dice) {
        case 0: .answer(500)
        case 1: .answer(429, headers: ["Retry-After": "0"])
        case 2: .answer(403)
        case 3: .answer(404)
        case 4: .doneBut(502)
        case 5: .cut(done: true)
        case 6: .cut(done: false)
        case 7: .half(done: true)
        case 8: .half(done: false)
        case 9: .body("<html>")
        case 10: Int.random(in: 0..<4, using: &dice) == 0 ? .stall(done: true) : .answer(422)
        default: nil
        }
    }

    @Test(arguments: ForgeService.allCases, 0..<12)
    func thereIsNeverASecondOne(_ service: ForgeService, _ seed: UInt64) async throws {
        var dice = Dice(seed &* 7919)
        let double = try await ForgeDouble(service)
        let options = Pair.options { ($0.timeout, $0.attempts) = (.seconds(3), 3) }
        let others = (1...5).map { ForgeDouble.Text(id: $0, login: "person", title: "t", body: "\(Pair.marker)\n\($0)") }
        double.change { ($0.comments, $0.issues, $0.largestPage) = (others, others, 2) }
        var client = try Pair.client(of: double, options)
        for round in 0..<8 {
            if Bool.random(using: &dice) {
                // Restarted: nothing is remembered.
                await client.close()
                client = try Pair.client(of: double, options)
            }
            let faults = (0..<Int.random(in: 0..<8, using: &dice)).map { _ in Self.fault(&dice) }
            double.change { $0.faults = faults }
            _ = try? await client.publish(comment: "round \(round)", on: 3)
            _ = try? await client.driftIssue(opens: Bool.random(using: &dice), title: "t", text: "round \(round)")
            let mine = double.comments.filter { $0.login == "plumb-bot" }
            let issues = double.issues.filter { $0.login == "plumb-bot" }
            #expect(mine.count <= 1 && issues.count <= 1, "seed \(seed), round \(round): \(faults)")
        }
        double.change { $0.faults = [] }
        _ = try await client.publish(comment: "last", on: 3)
        _ = try await client.driftIssue(opens: true, title: "t", text: "last")
        #expect(double.comments.filter { $0.login == "plumb-bot" }.map(\.body) == ["\(Pair.marker)\nlast"], "seed \(seed)")
        #expect(double.issues.filter { $0.login == "plumb-bot" }.map(\.body) == ["\(Pair.drift)\nlast"], "seed \(seed)")
        #expect(double.comments.filter { $0.login == "person" } == others && double.issues.filter { $0.login == "person" } == others)
        #expect(double.complaints == [])
        await client.close()
        await double.close()
    }
}
