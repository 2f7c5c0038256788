/** Secrets out of anything that is shown. Known forms only: a URL's password, and password parameters of URLs and libpq. */
const URL_PASSWORD = /(\b[a-z][a-z0-9+.-]*:\/\/[^\s:/@]*):\S*@/gi;
const PASSWORD_PARAMETER = /(\b(?:ssl)?password\s*=\s*)(?:'(?:[^'\\]|\\.)*'|[^&\s]*)/gi;

/** `text` without the passwords of the URLs in it. A password may hold any character but white space, even `@` and `/`. */
export function redact(text: string): string {
  return text.replace(URL_PASSWORD, "$1@").replace(PASSWORD_PARAMETER, "$1***");
}
