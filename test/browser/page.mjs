// The page at /api/docs as a person uses it. run.sh starts this.
//
//   node page.mjs SYSTEM-MANAGER CHROMIUM DESCRIPTOR SCREENSHOTS
import assert from 'node:assert/strict'
import {mkdirSync, readFileSync} from 'node:fs'
import {join} from 'node:path'
import {chromium} from 'playwright-core'
import {startServer} from './server.mjs'

const [binary, executablePath, descriptorFile, shots] = process.argv.slice(2)
const descriptor = JSON.parse(readFileSync(descriptorFile, 'utf8'))
const flags = [
  '--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
  '--disable-background-networking', '--disable-component-update', '--disable-sync',
]

// visit opens a page and notes whatever ought not to happen on it.
async function visit(browser, origin) {
  const context = await browser.newContext({viewport: {width: 1280, height: 900}})
  const page = await context.newPage()
  page.setDefaultTimeout(30_000)
  const wrong = []
  context.on('request', r => {
    if (!r.url().startsWith(origin + '/') && !/^(data|blob):/.test(r.url())) wrong.push(`a request leaves the server: ${r.url()}`)
  })
  context.on('response', r => { if (r.status() >= 400) wrong.push(`${r.status()} ${r.url()}`) })
  context.on('requestfailed', r => wrong.push(`${r.url()}: ${r.failure()?.errorText}`))
  page.on('console', m => { if (['error', 'warning'].includes(m.type())) wrong.push(`console: ${m.text()}`) })
  page.on('pageerror', e => wrong.push(`error: ${e.stack}`))
  return {context, page, wrong}
}

// tryOut runs one operation through its form, with the body if one is given,
// and returns what the page shows: the body that was there, and the answer.
async function tryOut(page, method, path, body) {
  const block = page.locator(`.opblock-${method}`, {has: page.locator(`[data-path="${path}"]`)})
  await block.locator('.opblock-summary').click()
  await block.locator('.try-out__btn').click()
  const text = block.locator('.body-param__text')
  const proposed = await text.count() ? JSON.parse(await text.inputValue()) : undefined
  if (body) await text.fill(JSON.stringify(body, null, 2))
  await block.locator('.execute').click()
  const row = block.locator('.live-responses-table tbody .response').first()
  const status = Number((await row.locator('.response-col_status').innerText()).trim().split(/\s/)[0])
  const answer = await row.locator('.response-col_description .highlight-code').first().innerText()
  const curl = await block.locator('.curl-command').innerText()
  return {block, proposed, status, answer: JSON.parse(answer.replace(/^\s*Download\s*|\s*Download\s*$/g, '')), curl}
}

async function shoot(page, name) { await page.screenshot({path: join(shots, name + '.png')}) }

async function authorize(page, token) {
  await page.locator('.scheme-container .authorize').click()
  const dialog = page.locator('.modal-ux')
  await dialog.locator('input').fill(token)
  await shoot(page, '2-authorize')
  await dialog.locator('button.authorize').click()
  await dialog.locator('button.btn-done').click()
}

// theSeed is the quick start on the page: log in, authorize, deploy, list.
async function theSeed(browser) {
  const server = await startServer(binary)
  const {context, page, wrong} = await visit(browser, server.origin)
  try {
    await page.goto(server.origin + '/api/docs')
    await page.locator('.opblock').first().waitFor()
    await shoot(page, '1-page')
    await page.screenshot({path: join(shots, '1-whole-page.png'), fullPage: true})
    assert.equal(await page.title(), 'Oakestra API')

    const login = await tryOut(page, 'post', '/api/auth/login', {username: 'Admin', password: 'Admin'})
    assert.equal(login.status, 200)
    assert.ok(login.answer.token, 'the login answers a token')
    await login.block.locator('.opblock-summary').click()
    await authorize(page, login.answer.token)

    const create = await tryOut(page, 'post', '/api/application/')
    assert.deepEqual(create.proposed, descriptor, "the form holds the quick start's descriptor")
    assert.equal(create.status, 200)
    assert.equal(create.answer[0].application_name, 'clientsrvr')
    assert.ok(create.curl.includes(`Authorization: Bearer ${login.answer.token}`), create.curl)
    await create.block.scrollIntoViewIfNeeded()
    await shoot(page, '3-created')
    await create.block.locator('.live-responses-table').first().scrollIntoViewIfNeeded()
    await shoot(page, '4-answer')
    await create.block.locator('.opblock-summary').click()

    const list = await tryOut(page, 'get', '/api/applications/')
    assert.equal(list.status, 200)
    assert.deepEqual(list.answer, create.answer)
    await list.block.scrollIntoViewIfNeeded()
    await shoot(page, '5-listed')

    const three = await page.evaluate(async () => (await fetch('/api/openapi.json')).json())
    assert.match(three.openapi, /^3\.0\./)
    assert.deepEqual(wrong, [])
  } catch (e) {
    await shoot(page, 'failed')
    e.message += '\nand noted: ' + JSON.stringify(wrong, null, 2)
    throw e
  } finally {
    await context.close()
    await server.stop()
  }
}

// strict is the page behind a login.
async function strict(browser) {
  const server = await startServer(binary, {OAKESTRA_SECURITY: 'strict', OAKESTRA_ADMIN_PASSWORD: 'a long enough one'})
  const {context, page, wrong} = await visit(browser, server.origin)
  try {
    await page.goto(server.origin + '/api/docs/index.html')
    await page.locator('input[name=username]').fill('Admin')
    await page.locator('input[name=password]').fill('a long enough one')
    await shoot(page, '6-strict')
    wrong.length = 0 // the 401 of the page itself
    await page.locator('button').click()
    await page.locator('.opblock').first().waitFor()
    const answer = await page.goto(server.origin + '/api/openapi.json')
    assert.equal(answer.status(), 200)
    assert.deepEqual(wrong, [])
  } catch (e) {
    await shoot(page, 'failed-strict')
    e.message += '\nand noted: ' + JSON.stringify(wrong, null, 2)
    throw e
  } finally {
    await context.close()
    await server.stop()
  }
}

mkdirSync(shots, {recursive: true})
const browser = await chromium.launch({executablePath, args: flags, chromiumSandbox: false})
try {
  for (const test of [theSeed, strict]) {
    const began = Date.now()
    await test(browser)
    console.log(`ok   ${test.name} (${((Date.now() - began) / 1000).toFixed(1)} s)`)
  }
} finally {
  await browser.close()
}
