import ArgumentParser
import Forge
import Reporting

extension ReportCommand {
    /// Opens, updates, closes or reopens the one issue of what differs from the base.
    ///
    /// - Throws: exit status 1, after the reason was printed.
    func keepDriftIssue(_ terminal: Terminal) async throws {
        let outcome: Result<DriftIssue, any Error>
        do throws(ForgeFailure) {
            // As in ReportRun, which needs to know first what may be shown.
            let site = (options.git.path ?? "").split(separator: "/").joined(separator: "/")
            guard let client = try posting.client(site: site) else { return }
            do throws(ForgeFailure) {
                // A public repository's issues are read by everybody.
                let isPublic = try await client.isPublicRepository()
                outcome = await drift(hidesValues: hideValues || isPublic, terminal)
                if case .success(let issue) = outcome {
                    terminal.writeError("\(client.service.name), drift: \(try await client.post(issue))\n")
                }
            } catch {
                await client.close()
                throw error
            }
            await client.close()
        } catch {
            let fix = error.fix.map { "    \(Escaping.shown($0))\n" } ?? ""
            terminal.writeError("\(terminal.errors.errorWord): the issue was not brought up to date: \(Escaping.shown(error.message))\n\(fix)")
            throw ExitCode(1)
        }
        let issue = try outcome.get()
        terminal.write("\(issue.markdown(budget: maxBytes ?? .max))\n\(issue.time)\n")
        if !issue.isComplete { throw ExitCode(1) }
    }

    /// What differs is what a report of one revision says has drifted.
    private func drift(hidesValues: Bool, _ terminal: Terminal) async -> Result<DriftIssue, any Error> {
        do {
            let run = try ReportRun(repository: source, options: options, audience: .init(hidesValues: hidesValues), terminal: terminal)
            let report = try await run.report(base: base ?? "HEAD", head: base ?? "HEAD")
            // Said already. Nothing is in force of specs that are wrong, so that nothing can be said of what differs from them.
            if report.baseMistakes > 0 || !report.mistakes.isEmpty { throw ExitCode(1) }
            return .success(DriftIssue(report, site: run.site))
        } catch {
            return .failure(error)
        }
    }
}

extension ForgeClient {
    /// Makes the issue of this site say this.
    ///
    /// - Returns: what was done, for a person.
    func post(_ issue: DriftIssue) async throws(ForgeFailure) -> String {
        // What could not be read may have drifted: an issue that says so stays as it is.
        if !issue.isOpen, !issue.isComplete { return "nothing that could be read differs; left as it is" }
        let text = issue.markdown(budget: max(4096, textLimit - 256))
        let outcome = try await driftIssue(opens: issue.isOpen, title: issue.title, text: "\(text)\n\(ReportMarker.time(issue.time))")
        return "issue \(outcome.rawValue)"
    }
}
