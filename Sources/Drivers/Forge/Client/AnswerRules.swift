import Foundation
import Values

/// What an answer means, and when a request may be sent again. A value: the clock and chance come in as arguments.
struct AnswerRules: Sendable {
    enum Verdict: Hashable, Sendable {
        case fine
        /// Trying again can't help.
        case refused(ForgeFailure)
        /// It was not carried out; not again before this time, or as we like.
        case later(Duration?, ForgeFailure)
        /// It may have been carried out.
        case broken(ForgeFailure)
    }

    let service: ForgeService
    /// `https://forge.example`
    let origin: String
    var attempts = 5
    var firstDelay = Duration.milliseconds(500)
    var longestDelay = Duration.seconds(20)

    /// GitHub asks for a minute where it speaks of a secondary limit without saying how long.
    private static let secondaryPause = Duration.seconds(60)

    func verdict(on answer: ForgeAnswer, to request: ForgeRequest, at now: Date) -> Verdict {
        let said = words(of: answer)
        func failure(_ cause: ForgeFailure.Cause, _ what: String, fix: String? = nil) -> ForgeFailure {
            ForgeFailure(
                cause,
                "\(origin) \(what) (\(answer.status) to \(request.method.rawValue) \(request.path))\(said.map { ": \($0)" } ?? "")",
                fix: fix
            )
        }
        let requested = pause(in: answer, at: now)
        switch answer.status {
        case 200..<300 where answer.body != nil: return .fine
        case 200..<300:
            return .refused(
                failure(.unavailable, "answers, but not in JSON", fix: "Is this the address of a forge of the kind '\(service.rawValue)'?")
            )
        case 429: return .later(requested, failure(.rateLimited, "wants fewer requests"))
        case 403 where requested != nil: return .later(requested, failure(.rateLimited, "wants fewer requests"))
        case 403 where said?.lowercased().contains("rate limit") == true:
            return .later(Self.secondaryPause, failure(.rateLimited, "wants fewer requests"))
        case 503 where answer.headers["retry-after"] != nil: return .later(requested, failure(.unavailable, "asks for patience"))
        case 500...: return .broken(failure(.unavailable, "has a fault of its own"))
        case 401: return .refused(failure(.unauthorized, "does not take the token", fix: unauthorizedFix(request)))
        case 403, 423: return .refused(failure(.forbidden, "does not allow it", fix: "It takes \(service.neededRights)."))
        case 404, 410:
            return .refused(
                failure(.notFound, "has no such thing, or does not show it", fix: "Check the repository's name; it takes \(service.neededRights).")
            )
        case 300..<400: return .refused(failure(.unavailable, "redirects to where Plumb does not follow", fix: "Give the forge's address of today."))
        default: return .refused(failure(.invalid, "does not take it"))
        }
    }

    private func unauthorizedFix(_ request: ForgeRequest) -> String {
        request.login == .app
            ? "The App's ID and its key must belong together, and this machine's clock must be right."
            : "Make a new one: \(service.neededRights)."
    }

    /// - Parameter attempt: counts from 1.
    /// - Parameter chance: from 0 to 1.
    func backoff(_ attempt: Int, chance: Double) -> Duration {
        spread(min(longestDelay, firstDelay * (1 << min(attempt - 1, 16))), chance: chance)
    }

    /// Never earlier than asked for, and not all at the same time.
    func spread(_ delay: Duration, chance: Double) -> Duration { delay + delay * (0.25 * chance) }

    /// How long the forge wants to be left alone; nil: it does not say.
    func pause(in answer: ForgeAnswer, at now: Date) -> Duration? {
        if let text = answer.headers["retry-after"]?.trimmingCharacters(in: .whitespaces) {
            if let seconds = Int64(text) { return .seconds(max(0, min(seconds, 86_400))) }
            if let date = Self.date(text) { return Self.duration(from: now, to: date) }
        }
        for prefix in ["x-ratelimit", "ratelimit"] where answer.headers["\(prefix)-remaining"].flatMap({ Int($0) }) == 0 {
            guard let reset = answer.headers["\(prefix)-reset"].flatMap({ Int64($0) }) else { continue }
            // A second more: the forge counts in whole ones.
            return Self.duration(from: now, to: Date(timeIntervalSince1970: TimeInterval(reset) + 1))
        }
        return nil
    }

    private static func duration(from now: Date, to date: Date) -> Duration {
        .milliseconds(Int64(max(0, min(date.timeIntervalSince(now), 86_400)) * 1000))
    }

    private static func date(_ text: String) -> Date? {
        let format = DateFormatter()
        format.locale = Locale(identifier: "en_US_POSIX")
        format.timeZone = TimeZone(identifier: "GMT")
        format.dateFormat = "EEE, dd MMM yyyy HH:mm:ss zzz"
        return format.date(from: text)
    }

    /// What the forge says about it, on one line.
    private func words(of answer: ForgeAnswer) -> String? {
        guard !(200..<300).contains(answer.status), let body = answer.body else { return nil }
        var parts: [String] = []
        for key in ["message", "error_description", "error"] {
            switch body[key] {
            case .string(let text)?: parts.append(text)
            case .some(let value) where value != .null: parts.append(value.canonicalJSON)
            default: continue
            }
            break
        }
        for error in (body["errors"]?.arrayValue ?? []).prefix(3) {
            if let text = error.stringValue ?? error["message"]?.stringValue ?? error["code"]?.stringValue { parts.append(text) }
        }
        return parts.isEmpty ? nil : parts.joined(separator: "; ").printable(limit: 300)
    }
}

/// How many requests that change something are sent in a minute. GitHub takes about 80 before it calls them abuse.
struct WritePace: Sendable {
    let perMinute: Int
    private var recent: [Duration] = []

    init(perMinute: Int) { self.perMinute = max(1, perMinute) }

    /// Takes a turn.
    ///
    /// - Parameter now: counted from any fixed point.
    /// - Returns: how long to wait first.
    mutating func turn(at now: Duration) -> Duration {
        recent.removeAll { now - $0 >= .seconds(60) }
        let start = recent.count < perMinute ? now : max(now, recent[recent.count - perMinute] + .seconds(60))
        recent.append(start)
        return start - now
    }
}
