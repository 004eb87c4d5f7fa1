import Controller
import Forge
import Foundation
import Git
import Logging
import Reporting
import Synchronization

/// The one client of the forge that the controller reports at. It is made when it is first needed: a token that is missing keeps nothing from being
/// reconciled, and is a report that could not be posted.
final class ForgeAccess: Sendable {
    let reports: Configuration.Reports
    /// Tells apart what several Plumbs say of one repository: the path of the specs.
    let site: String
    private let made = Mutex<ForgeClient?>(nil)

    init(_ reports: Configuration.Reports, source: Configuration.Source) {
        self.reports = reports
        let location = try? GitLocation(source: source.url, path: source.path)
        site = (location?.path ?? source.path ?? "").split(separator: "/").joined(separator: "/")
    }

    func client() throws(ForgeFailure) -> ForgeClient {
        let (reports, site) = (reports, site)
        return try made.withLock { (made) throws(ForgeFailure) in
            if let made { return made }
            let credentials: ForgeCredentials
            if let app = reports.app {
                credentials = try .app(id: app.id, installation: app.installation, keyFile: app.keyFile)
            } else {
                credentials = try .token(file: reports.tokenFile ?? "")
            }
            var options = ForgeClient.Options(site: site)
            options.authorityFile = reports.authorityFile
            let client = try ForgeClient(reports.forge, url: reports.url, repository: reports.repository, credentials: credentials, options: options)
            made = client
            return client
        }
    }

    func close() async { await made.withLock { $0 }?.close() }
}

extension PullRequestReporter {
    /// Reports on what the controller follows.
    init(
        _ access: ForgeAccess,
        _ configuration: Configuration,
        controller: Controller,
        world: ControllerComposition,
        metrics: Metrics,
        log: Logger
    ) {
        let planner = PullRequestPlanner(access.reports, world: world, log: log)
        var pace = Pace()
        (pace.poll, pace.pollWithWebhooks) = (configuration.source.poll, configuration.source.pollWithWebhooks)
        let pullRequests = PullRequestWorld(
            situation: {
                guard let revision = await controller.acting, revision.commit != nil else { return .waiting }
                guard let branch = Self.branch(of: revision, configuration.source) else {
                    return .impossible("pull requests are for a branch, and what is followed is none: \(revision.ref ?? "a commit")")
                }
                return .ready(revision, branch: branch)
            },
            list: { (branch) throws(ForgeFailure) in try await access.client().openRequests(base: branch) },
            find: { (number) throws(ForgeFailure) in try await access.client().pullRequest(number) },
            plan: { await planner.plan($0, $1) },
            prepare: { number in try? await access.client().lookForComment(on: number) },
            post: { (report, request) throws(ForgeFailure) in
                try await access.client().post(report, site: access.site, on: request)
            },
            say: { (status, request) throws(ForgeFailure) in _ = try await access.client().setStatus(status, on: request.headCommit) },
            forget: { try? await access.client().forget() }
        )
        self.init(access.reports, world: pullRequests, pace: pace, metrics: metrics, log: log)
    }

    /// nil: a tag or a commit is followed.
    private static func branch(of revision: Revision, _ source: Configuration.Source) -> String? {
        guard let ref = revision.ref else { return source.revision.flatMap { $0.count == 40 ? nil : $0 } }
        return ref.hasPrefix("refs/heads/") ? String(ref.dropFirst(11)) : nil
    }
}
