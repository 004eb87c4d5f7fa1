import Values

/// What became of a report.
package enum Published: String, Hashable, Sendable {
    case created
    case updated
    /// It said the same already, but for the time.
    case unchanged
    case reopened
    case closed
    /// There is none, and none was wanted.
    case none
    /// This forge, or this token, has no such thing.
    case unsupported
}

extension ForgeClient {
    /// Makes the one comment of a pull request say this.
    ///
    /// - Parameters:
    ///   - text: Markdown, at most `textLimit` bytes. What `ReportMarker.time` encloses does not count as a change.
    package func publish(comment text: String, on number: Int) async throws(ForgeFailure) -> Published {
        let marker = ReportMarker.report(site: options.site)
        let text = try ready(text, marker)
        let key = "comment \(number)"
        await enter(key)
        defer { leave(key) }
        let end = deadline
        var attempt = 1
        while true {
            do throws(SendFailure) {
                return try await publishOnce(text, marker, on: number, until: end)
            } catch {
                // Whether it is there now is seen in the list.
                guard error.mayBeDone, attempt < options.attempts, !Task.isCancelled else { throw error.failure }
                do throws(SendFailure) { try await pause(backoff(attempt), until: end, else: error) } catch { throw error.failure }
                attempt += 1
            }
        }
    }

    /// Looks for our comment on a pull request now, so that `publish` need not for the next minutes. What goes wrong is seen there again.
    package func lookForComment(on number: Int) async {
        let key = "comment \(number)"
        await enter(key)
        defer { leave(key) }
        if memory.comment(on: number, at: .now) != nil || memory.isKnownAbsent(on: number, at: .now) { return }
        guard let own = try? await ownComments(on: number, ReportMarker.report(site: options.site), until: deadline) else { return }
        // What is too many is put right where the text is known.
        if own.count == 1 { memory.remember(ReportMemory.Comment(id: own[0].id, text: own[0].text, searchedAt: .now), on: number) }
        if own.isEmpty { memory.noteAbsence(on: number, at: .now) }
    }

    private func publishOnce(
        _ text: String,
        _ marker: String,
        on number: Int,
        until end: ContinuousClock.Instant
    ) async throws(SendFailure) -> Published {
        if var known = memory.comment(on: number, at: .now) {
            if ReportMarker.isSame(known.text, text) { return .unchanged }
            do throws(SendFailure) {
                _ = try await send(api.updateComment(known.id, on: number, to: text), until: end)
                known.text = text
                memory.remember(known, on: number)
                return .updated
            } catch {
                memory.remember(nil, on: number)
                guard error.failure.cause == .notFound else { throw error }
                // Somebody has deleted it.
            }
        }
        // Once: whether it is there after a creation whose answer was lost is seen in the list alone.
        let isAbsent = memory.isKnownAbsent(on: number, at: .now)
        memory.noteAbsence(on: number, at: nil)
        let own = isAbsent ? [] : try await ownComments(on: number, marker, until: end)
        let plan = CommentPlan(own: own, text: text)
        let (id, outcome): (Int64?, Published)
        switch plan.action {
        case .keep(let known): (id, outcome) = (known, .unchanged)
        case .update(let known):
            _ = try await send(api.updateComment(known, on: number, to: text), until: end)
            (id, outcome) = (known, .updated)
        case .create:
            let answer = try await send(api.createComment(text, on: number), until: end)
            (id, outcome) = (answer.body?["id"]?.intValue, .created)
        }
        for other in plan.surplus {
            do throws(SendFailure) {
                _ = try await send(api.deleteComment(other, on: number), until: end)
            } catch {
                // Gone already is as good.
                if error.failure.cause != .notFound { throw error }
            }
        }
        memory.remember(id.map { ReportMemory.Comment(id: $0, text: text, searchedAt: .now) }, on: number)
        return outcome
    }

    private func ownComments(on number: Int, _ marker: String, until end: ContinuousClock.Instant) async throws(SendFailure) -> [ForgeComment] {
        let author = try await ownAuthor(until: end)
        // Who fills a thread with megabytes gets smaller pages.
        for size in [100, 20] {
            do throws(SendFailure) { return try await ownComments(on: number, marker, author, pageSize: size, until: end) } catch {
                guard error.isTooLarge, service == .github || service == .gitlab else { throw error }
            }
        }
        return try await ownComments(on: number, marker, author, pageSize: 2, until: end)
    }

    private func ownComments(
        on number: Int,
        _ marker: String,
        _ author: OwnAuthor,
        pageSize: Int,
        until end: ContinuousClock.Instant
    ) async throws(SendFailure) -> [ForgeComment] {
        var own: [ForgeComment] = []
        try await pages(of: api.comments(on: number, pageSize: pageSize), until: end) { value in
            guard let comment = ForgeComment(value), author.isAuthor(comment.author), ReportMarker.begins(comment.text, with: marker) else { return }
            // Pages that shift while they are read show one twice.
            if !own.contains(where: { $0.id == comment.id }) { own.append(comment) }
        }
        return own
    }

    /// Shows a status at a commit. Not sent again where it was the last one that this client has sent there.
    ///
    /// - Parameter asksFirst: Nor where it is there already, which takes a question of its own.
    package func setStatus(_ status: ReportStatus, on commit: String, asksFirst: Bool = false) async throws(ForgeFailure) -> Published {
        guard let commit = PushNotice.commit(commit) else { throw ForgeFailure(.invalid, "'\(commit.printable(limit: 64))' is no full commit ID") }
        let key = "status \(commit)"
        await enter(key)
        defer { leave(key) }
        if memory.isKnown(status, on: commit) { return .unchanged }
        do throws(SendFailure) {
            let end = deadline
            if asksFirst, try await isShown(status, on: commit, until: end) {
                memory.remember(status, on: commit)
                return .unchanged
            }
            _ = try await send(api.status(status, on: commit), until: end)
        } catch {
            // GitLab refuses to make a status what it is.
            guard service == .gitlab, error.failure.cause == .invalid, error.failure.message.contains("Cannot transition status") else {
                throw error.failure
            }
            memory.remember(status, on: commit)
            return .unchanged
        }
        memory.remember(status, on: commit)
        return .created
    }

    private func isShown(_ status: ReportStatus, on commit: String, until end: ContinuousClock.Instant) async throws(SendFailure) -> Bool {
        do throws(SendFailure) {
            let answer = try await send(api.statuses(on: commit, context: status.context), until: end)
            return api.isShown(status, in: answer.body?.arrayValue ?? [])
        } catch {
            // Who may write and not read writes.
            if error.failure.cause == .notFound || error.failure.cause == .forbidden { return false }
            throw error
        }
    }

    /// Shows mistakes at their lines.
    ///
    /// - Returns: `unsupported` where the forge has nothing of the kind, or takes it from Apps alone: the comment has to say it all.
    package func publish(_ check: ReportCheck, on commit: String) async throws(ForgeFailure) -> Published {
        guard service == .github, isApp else { return .unsupported }
        guard let commit = PushNotice.commit(commit) else { throw ForgeFailure(.invalid, "'\(commit.printable(limit: 64))' is no full commit ID") }
        let key = "check \(commit)"
        await enter(key)
        defer { leave(key) }
        let end = deadline
        var attempt = 1
        while true {
            do throws(SendFailure) {
                return try await publishOnce(check, on: commit, until: end)
            } catch {
                guard error.mayBeDone, attempt < options.attempts, !Task.isCancelled else { throw error.failure }
                do throws(SendFailure) { try await pause(backoff(attempt), until: end, else: error) } catch { throw error.failure }
                attempt += 1
            }
        }
    }

    private func publishOnce(_ check: ReportCheck, on commit: String, until end: ContinuousClock.Instant) async throws(SendFailure) -> Published {
        let runs = try await send(api.checkRuns(named: check.name, on: commit), until: end).body?["check_runs"]?.arrayValue ?? []
        var outcome = Published.unchanged
        var run = runs.first { $0["external_id"]?.stringValue == check.fingerprint }
        if run == nil {
            run = try await send(api.createCheckRun(check, on: commit), until: end).body
            outcome = .created
        }
        guard let id = run?["id"]?.intValue else { throw SendFailure(ForgeFailure(.unavailable, "\(service.name) does not say what it made")) }
        // What it has already is known to the forge alone: an answer may have been lost on the way.
        var count = Int(run?[path: "output", "annotations_count"]?.intValue ?? 0)
        if outcome == .created { count = max(count, min(check.annotations.count, ReportCheck.annotationsAtATime)) }
        while count < check.annotations.count {
            _ = try await send(api.addAnnotations(to: id, check, from: count), until: end)
            count += ReportCheck.annotationsAtATime
            if outcome == .unchanged { outcome = .updated }
        }
        return outcome
    }

    /// Keeps the one issue about drift of this site.
    ///
    /// - Parameters:
    ///   - opens: Whether there is drift. Without, an open one is closed, with this text; none is made.
    package func driftIssue(opens: Bool, title: String, text: String) async throws(ForgeFailure) -> Published {
        let marker = ReportMarker.drift(site: options.site)
        let text = try ready(text, marker)
        let title = title.printable(limit: 200)
        await enter("issue")
        defer { leave("issue") }
        let end = deadline
        var attempt = 1
        while true {
            do throws(SendFailure) {
                return try await driftIssueOnce(opens, title, text, marker, until: end)
            } catch {
                guard error.mayBeDone, attempt < options.attempts, !Task.isCancelled else { throw error.failure }
                do throws(SendFailure) { try await pause(backoff(attempt), until: end, else: error) } catch { throw error.failure }
                attempt += 1
            }
        }
    }

    private func driftIssueOnce(
        _ opens: Bool,
        _ title: String,
        _ text: String,
        _ marker: String,
        until end: ContinuousClock.Instant
    ) async throws(SendFailure) -> Published {
        let author = try await ownAuthor(until: end)
        var own: [ForgeIssue] = []
        let login: String? = if case .account(let login) = author { login } else { nil }
        try await pages(of: api.issues(by: login, pageSize: 100), until: end) { value in
            guard let issue = ForgeIssue(value), author.isAuthor(issue.author), ReportMarker.begins(issue.text, with: marker) else { return }
            if !own.contains(where: { $0.number == issue.number }) { own.append(issue) }
        }
        let plan = IssuePlan(own: own, opens: opens, title: title, text: text)
        let outcome: Published
        switch plan.action {
        case .nothing: outcome = .none
        case .keep: outcome = .unchanged
        case .create:
            _ = try await send(api.createIssue(title: title, text: text), until: end)
            outcome = .created
        case .update(let number):
            _ = try await send(api.updateIssue(number, title: title, text: text, opens: nil), until: end)
            outcome = .updated
        case .reopen(let number):
            _ = try await send(api.updateIssue(number, title: title, text: text, opens: true), until: end)
            outcome = .reopened
        case .close(let number):
            _ = try await send(api.updateIssue(number, title: title, text: text, opens: false), until: end)
            outcome = .closed
        }
        for other in plan.surplus { _ = try await send(api.updateIssue(other, opens: false), until: end) }
        return outcome
    }

    /// With the marker before it, and without what no database takes.
    private func ready(_ text: String, _ marker: String) throws(ForgeFailure) -> String {
        let result = "\(marker)\n\(text.replacing("\u{0}", with: "\u{FFFD}"))"
        guard result.utf8.count <= service.textLimit else {
            throw ForgeFailure(.invalid, "a report of \(result.utf8.count) bytes is more than \(service.name) takes (\(service.textLimit))")
        }
        return result
    }
}
