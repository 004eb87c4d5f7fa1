import Foundation
import Values

/// One repository at one forge, and what Plumb reports there.
///
/// - Guarantees: every call ends within `Options.patience`, retries included. There is at most one comment of ours on a pull request and one issue of
///   ours about drift: nothing is created before all pages were searched for it, and a creation whose answer was lost is looked for before it is
///   tried again. What would change nothing is not sent.
/// - Errors: a `ForgeFailure`, always; nothing is dropped in silence.
package actor ForgeClient {
    package struct Options: Hashable, Sendable {
        /// Tells this Plumb's texts from those of another one that reports to the same repository.
        package var site: String
        /// The account that the token belongs to, where it may not be asked for.
        package var author: String?
        /// PEM, trusted in addition to what the system trusts.
        package var authorityFile: String?
        /// Of one exchange.
        package var timeout = Duration.seconds(30)
        /// Of one call, with all its requests, retries and pauses.
        package var patience = Duration.seconds(120)
        /// Of one request.
        package var attempts = 5
        package var firstDelay = Duration.milliseconds(500)
        /// Of one answer, in bytes.
        package var largestAnswer = 16 << 20
        /// Requests that change something.
        package var writesPerMinute = 60
        /// Of one list. A thread with 10,000 comments is no thread.
        package var mostPages = 100

        package init(site: String) { self.site = site }
    }

    package nonisolated let service: ForgeService
    /// What there is room for in one comment or issue, in bytes.
    package nonisolated let textLimit: Int
    let api: ForgeAPI
    let options: Options
    private let credentials: ForgeCredentials
    var isApp: Bool { credentials.isApp }
    private let rules: AnswerRules
    private let transport: ForgeTransport

    private var pace: WritePace
    private let start = ContinuousClock.now
    /// The forge has asked for silence.
    private var silentUntil: ContinuousClock.Instant?
    private var token: (text: String, expires: Date?)?
    private var busy: Set<String> = []
    private var waiting: [String: [CheckedContinuation<Void, Never>]] = [:]

    var author: OwnAuthor?
    var memory = ReportMemory()
    var isPublic: (value: Value, at: ContinuousClock.Instant)?
    /// Whether these accounts may write, and when that was asked.
    private var writers: [String: (isAllowed: Bool, at: ContinuousClock.Instant)] = [:]

    /// Connects when the first request is sent.
    ///
    /// - Parameters:
    ///   - url: what a person opens in a browser; nil: the service's public one.
    ///   - repository: `owner/name`; at GitLab with every group.
    package init(
        _ service: ForgeService,
        url: String? = nil,
        repository: String,
        credentials: ForgeCredentials,
        options: Options
    ) throws(ForgeFailure) {
        self.service = service
        self.options = options
        self.credentials = credentials
        api = try ForgeAPI(service, repository: repository)
        if credentials.isApp, service != .github { throw ForgeFailure(.invalid, "\(service.name) has no Apps", fix: "Give a token.") }
        let endpoint = try ForgeEndpoint(service, url: url)
        transport = try ForgeTransport(
            endpoint,
            authorityFile: options.authorityFile,
            timeout: options.timeout,
            largestAnswer: options.largestAnswer
        )
        rules = AnswerRules(service: service, origin: endpoint.origin, attempts: options.attempts, firstDelay: options.firstDelay)
        pace = WritePace(perMinute: options.writesPerMinute)
        let marker = max(ReportMarker.report(site: options.site).utf8.count, ReportMarker.drift(site: options.site).utf8.count)
        textLimit = service.textLimit - marker - 1
    }

    package func close() async { await transport.close() }

    /// Looks again before anything is said: somebody else may have said something meanwhile.
    package func forget() { memory = ReportMemory() }

    /// Whether a client could be made of these; nothing is contacted.
    package nonisolated static func check(_ service: ForgeService, url: String?, repository: String) throws(ForgeFailure) {
        _ = try ForgeAPI(service, repository: repository)
        _ = try ForgeEndpoint(service, url: url)
    }

    // MARK: Questions

    /// Everything about a pull request that decides about how it is planned.
    package func pullRequest(_ number: Int) async throws(ForgeFailure) -> PullRequest {
        do throws(SendFailure) { return try await pullRequest(number, until: deadline) } catch { throw error.failure }
    }

    private func pullRequest(_ number: Int, until end: ContinuousClock.Instant) async throws(SendFailure) -> PullRequest {
        let answer = try await send(api.pullRequest(number), until: end)
        // Not in one expression: there, `nil` would be the JSON null, and every repository public.
        var project: Value?
        if service == .gitlab { project = try await self.project(until: end) }
        guard let body = answer.body, let (found, author) = api.pullRequest(body, number: number, project: project) else {
            throw SendFailure(ForgeFailure(.unavailable, "\(service.name) says nothing usable about pull request \(number)"))
        }
        var request = found
        request.authorMayWrite = try await mayWrite(author, until: end)
        return request
    }

    /// Whether everybody, or everybody with an account there, can read the repository. What is not said is public.
    package func isPublicRepository() async throws(ForgeFailure) -> Bool {
        do throws(SendFailure) { return api.isPublic(try await send(api.repositoryFacts(), until: deadline).body) } catch { throw error.failure }
    }

    /// Those that are to be merged into a branch, all that decides about how they are planned. Who may write is asked once an author for a while.
    package func openRequests(base: String) async throws(ForgeFailure) -> [PullRequest] {
        let end = deadline
        do throws(SendFailure) {
            var project: Value?
            if service == .gitlab { project = try await self.project(until: end) }
            var found: [(PullRequest, author: ForgeUser?)] = []
            try await pages(of: api.openPullRequests(base: base), until: end) { value in
                guard let number = (value["iid"] ?? value["number"])?.intValue,
                    let request = api.pullRequest(value, number: Int(number), project: project), request.0.baseRef == base,
                    // Pages that shift while they are read show one twice.
                    !found.contains(where: { $0.0.number == request.0.number })
                else { return }
                found.append(request)
            }
            var requests: [PullRequest] = []
            for (request, author) in found {
                var request = request
                request.authorMayWrite = try await mayWriteRecently(author, until: end)
                requests.append(request)
            }
            return requests
        } catch {
            throw error.failure
        }
    }

    private func mayWriteRecently(_ author: ForgeUser?, until end: ContinuousClock.Instant) async throws(SendFailure) -> Bool {
        guard let author else { return false }
        if let (isAllowed, at) = writers[author.login], .now - at < .seconds(300) { return isAllowed }
        let isAllowed = try await mayWrite(author, until: end)
        if writers.count >= 1000 { writers.removeAll(keepingCapacity: true) }
        writers[author.login] = (isAllowed, .now)
        return isAllowed
    }

    /// GitLab's project, which says who can read it.
    private func project(until end: ContinuousClock.Instant) async throws(SendFailure) -> Value {
        if let (value, at) = isPublic, .now - at < .seconds(300) { return value }
        let value = try await send(api.repositoryFacts(), until: end).body ?? .null
        isPublic = (["visibility": value["visibility"] ?? .null], .now)
        return value
    }

    private func mayWrite(_ author: ForgeUser?, until end: ContinuousClock.Instant) async throws(SendFailure) -> Bool {
        guard let author, service != .gitlab || author.id != nil else { return false }
        do throws(SendFailure) {
            return api.mayWrite(try await send(api.permission(of: author.login, id: author.id), until: end).body ?? .null)
        } catch {
            // Not one of them, or nothing that we may know: a stranger.
            if error.failure.cause == .notFound || error.failure.cause == .forbidden { return false }
            throw error
        }
    }

    // MARK: Sending

    struct SendFailure: Error, Hashable, Sendable {
        var failure: ForgeFailure
        /// Its answer was lost, and it may have been carried out.
        var mayBeDone = false
        /// The answer was longer than is read.
        var isTooLarge = false

        init(_ failure: ForgeFailure, mayBeDone: Bool = false, isTooLarge: Bool = false) {
            self.failure = failure
            self.mayBeDone = mayBeDone
            self.isTooLarge = isTooLarge
        }
    }

    var deadline: ContinuousClock.Instant { .now + options.patience }

    /// Sends it, again where that does no harm, until there is an answer that counts.
    func send(_ request: ForgeRequest, until end: ContinuousClock.Instant) async throws(SendFailure) -> ForgeAnswer {
        var attempt = 1
        var hasRenewed = false
        while true {
            if request.method != .get {
                let wait = pace.turn(at: start.duration(to: .now))
                if wait > .zero { try await pause(wait, until: end, else: SendFailure(tooMany(wait))) }
            }
            if let until = silentUntil, until > .now {
                let wait = ContinuousClock.now.duration(to: until)
                try await pause(wait, until: end, else: SendFailure(tooMany(wait)))
            }
            let authorization = try await authorization(request.login, until: end)
            let failure: ForgeFailure
            var delay = rules.backoff(attempt, chance: .random(in: 0...1))
            switch await transport.exchange(request, service, authorization: authorization, until: end) {
            case .success(let answer):
                if answer.status == 401, !hasRenewed, renewToken(request.login) {
                    hasRenewed = true
                    continue
                }
                switch rules.verdict(on: answer, to: request, at: Date()) {
                case .fine:
                    if let pause = rules.pause(in: answer, at: Date()) { silence(for: pause) }
                    return answer
                case .refused(let failure): throw SendFailure(failure)
                case .later(let requested, let reason):
                    delay = max(delay, rules.spread(requested ?? .zero, chance: .random(in: 0...1)))
                    silence(for: delay)
                    failure = ForgeFailure(reason.cause, reason.message, fix: reason.fix, retryAfter: delay)
                case .broken(let reason):
                    guard request.isRepeatable else { throw SendFailure(reason, mayBeDone: true) }
                    failure = reason
                }
            case .failure(let loss):
                failure = ForgeFailure(loss.certainty == .hopeless && !loss.isTooLarge ? .invalid : .unavailable, loss.message, fix: loss.fix)
                switch loss.certainty {
                case .hopeless: throw SendFailure(failure, isTooLarge: loss.isTooLarge)
                case .unknown where !request.isRepeatable: throw SendFailure(failure, mayBeDone: true)
                case .unknown, .notSent: break
                }
            }
            guard attempt < rules.attempts, !Task.isCancelled else { throw SendFailure(failure) }
            try await pause(delay, until: end, else: SendFailure(failure))
            attempt += 1
        }
    }

    /// - Throws: the failure, at once where there is not time enough.
    func pause(_ delay: Duration, until end: ContinuousClock.Instant, else failure: SendFailure) async throws(SendFailure) {
        guard .now + delay < end else { throw failure }
        do { try await Task.sleep(for: delay) } catch { throw failure }
    }

    private func tooMany(_ wait: Duration) -> ForgeFailure {
        ForgeFailure(.rateLimited, "\(service.name) has taken as many requests as it likes for now", retryAfter: wait)
    }

    private func silence(for pause: Duration) {
        let until = ContinuousClock.now + pause
        silentUntil = max(silentUntil ?? until, until)
    }

    /// Before the pause after a lost creation, or any other attempt of a whole call.
    func backoff(_ attempt: Int) -> Duration { rules.backoff(attempt, chance: .random(in: 0...1)) }

    // MARK: Lists

    /// Every element of every page.
    func pages(
        of request: ForgeRequest,
        until end: ContinuousClock.Instant,
        _ visit: (Value) -> Void
    ) async throws(SendFailure) {
        var request = request
        for page in 1...options.mostPages {
            let answer = try await send(request, until: end)
            guard let elements = answer.body?.arrayValue else {
                throw SendFailure(ForgeFailure(.unavailable, "\(service.name) answers, but not with a list (GET \(request.path))"))
            }
            for element in elements { visit(element) }
            if let next = answer.nextQuery {
                // The same page again would go on for ever.
                if next == request.query { return }
                request.query = next
            } else if answer.headers["link"] == nil, let next = answer.nextPage, next > page {
                request.query = (request.query.split(separator: "&").filter { !$0.hasPrefix("page=") } + ["page=\(next)"]).joined(separator: "&")
            } else {
                return
            }
        }
        let fix = "Close it and open another one."
        throw SendFailure(ForgeFailure(.invalid, "there are more than \(options.mostPages) pages of \(request.path)", fix: fix))
    }

    // MARK: Who we are

    private func authorization(_ login: ForgeRequest.Login, until end: ContinuousClock.Instant) async throws(SendFailure) -> String {
        do throws(ForgeFailure) {
            switch (login, credentials.kind) {
            case (_, .fixed(let text)): return header(text)
            case (_, .file(let path)):
                if let text = token?.text { return header(text) }
                let text = try ForgeCredentials.read(path)
                token = (text, nil)
                return header(text)
            case (.app, .app(let key)): return "Bearer \(try key.webToken(at: Int64(Date().timeIntervalSince1970)))"
            case (.token, .app): break
            }
        } catch {
            throw SendFailure(error)
        }
        // Five minutes before its end: no request may outlive it.
        if let (text, expires) = token, let expires, expires.timeIntervalSinceNow > 300 { return header(text) }
        return header(try await installationToken(until: end))
    }

    private func header(_ token: String) -> String {
        switch service {
        case .github, .gitlab: "Bearer \(token)"
        case .gitea, .forgejo: "token \(token)"
        }
    }

    private func installationToken(until end: ContinuousClock.Instant) async throws(SendFailure) -> String {
        guard case .app(let key) = credentials.kind else { throw SendFailure(ForgeFailure(.unauthorized, "there is no App")) }
        var installation = key.installation
        if installation == nil { installation = try await send(api.installation(), until: end).body?["id"]?.intValue }
        guard let installation else {
            let fix = "Install it for this repository, or name the installation."
            throw SendFailure(ForgeFailure(.notFound, "the App has no installation here", fix: fix))
        }
        let body = try await send(api.installationToken(installation), until: end).body ?? .null
        guard let text = body["token"]?.stringValue, text.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F }), !text.isEmpty else {
            throw SendFailure(ForgeFailure(.unavailable, "\(service.name) gives no token for the App's installation"))
        }
        let expires = body["expires_at"]?.stringValue.flatMap { ISO8601DateFormatter().date(from: $0) }
        token = (text, expires ?? Date(timeIntervalSinceNow: 600))
        return text
    }

    /// Whether there may be another token than the one that was refused.
    private func renewToken(_ login: ForgeRequest.Login) -> Bool {
        guard login == .token, let used = token?.text else { return false }
        switch credentials.kind {
        case .fixed: return false
        case .file(let path):
            guard let text = try? ForgeCredentials.read(path), text != used else { return false }
            token = (text, nil)
            // It may be another account's, whose comments are others.
            author = nil
            forget()
            return true
        case .app:
            token = nil
            return true
        }
    }

    /// Whose comments are ours.
    func ownAuthor(until end: ContinuousClock.Instant) async throws(SendFailure) -> OwnAuthor {
        if let author { return author }
        let found: OwnAuthor
        if let login = options.author {
            found = .account(login)
        } else if credentials.isApp {
            guard let slug = try await send(api.app(), until: end).body?["slug"]?.stringValue else {
                throw SendFailure(ForgeFailure(.unavailable, "\(service.name) does not say what the App is called"))
            }
            found = .account("\(slug)[bot]")
        } else {
            do throws(SendFailure) {
                guard let user = ForgeUser(try await send(api.user(), until: end).body) else {
                    throw SendFailure(ForgeFailure(.unavailable, "\(service.name) does not say whose token it is"))
                }
                found = .account(user.login)
            } catch {
                // An installation's token, as GitHub Actions has it, belongs to no user.
                // GitHub says so; any other refusal may pass, and would make us blind to what we wrote ourselves.
                let isInstallation = error.failure.message.contains("not accessible by integration")
                guard service == .github, error.failure.cause == .forbidden, isInstallation else { throw error }
                found = .anyBot
            }
        }
        author = found
        return found
    }

    // MARK: One after the other

    /// Two who look for the same comment at once would both create it.
    func enter(_ key: String) async {
        if busy.insert(key).inserted { return }
        await withCheckedContinuation { waiting[key, default: []].append($0) }
    }

    func leave(_ key: String) {
        guard var others = waiting[key], !others.isEmpty else {
            busy.remove(key)
            return
        }
        let next = others.removeFirst()
        waiting[key] = others.isEmpty ? nil : others
        next.resume()
    }
}
